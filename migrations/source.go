package migrations

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/jackc/tern/v2/migrate"
)

// Source is what makes schema fedsender for one kind of application:
//
//	NNN_name.sql        numbered migrations
//	names.json          what the templates of this source are filled with
//	detect.sql          a query: are these the application's tables (one boolean)? Without it nothing is taken for this source
//	variant.sql         a query: which form have they (one text)? Without it there is only one form
//	live/*.sql          what touches the application's tables: made anew whenever it, or the form, has changed
//	live/VARIANT/*.sql  the same for one form, between those in the order of the names of the files
//	live/VARIANT/names.json  names that only this form has
//	after.sql           a statement that is run by itself, outside a transaction, when the rest was made, and one before the rest
//	                    is removed: what must not hold locks on several of the application's tables at a time
//
// All of them are templates (text/template), and may include the files of common: {{ template "common/tables.sql" . }} is
// the way forward of one and {{ template "drop common/tables.sql" . }} its way back; {{ template "variant.sql" . }} is the
// query itself. {{ .source }} is the name of the source. A name that is not given is an error. A Source is not changed after
// it was made.
type Source struct {
	name  string
	files fs.FS
}

// NewSource is for a folder that is not among [Sources].
func NewSource(name string, files fs.FS) *Source { return &Source{name, files} }

// Name is that of the folder, and what fedsender.source says.
func (s *Source) Name() string { return s.name }

// Files are the source's own.
func (s *Source) Files() fs.FS { return s.files }

// Version is the number of the newest migration.
func (s *Source) Version() (int32, error) {
	names, err := migrate.FindMigrations(s.files)
	return int32(len(names)), err
}

// Numbered returns the migrations in their order.
func (s *Source) Numbered() ([]Step, error) {
	names, err := migrate.FindMigrations(s.files)
	if err != nil {
		return nil, err
	}
	return s.render("", names)
}

// Variants are the forms of the application's tables that the source knows; none where there is only one.
func (s *Source) Variants() ([]string, error) {
	entries, err := fs.ReadDir(s.files, "live")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var variants []string
	for _, entry := range entries {
		if entry.IsDir() {
			variants = append(variants, entry.Name())
		}
	}
	return variants, err
}

// Live returns what is made anew for this form, in its order.
func (s *Source) Live(variant string) ([]Step, error) {
	var names []string
	for _, pattern := range []string{"live/*.sql", path.Join("live", variant, "*.sql")} {
		found, err := fs.Glob(s.files, pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(path.Base(a), path.Base(b)), cmp.Compare(a, b)) })
	return s.render(variant, slices.Compact(names))
}

// People are the views for people, in the order in which they are made, as they read this source.
func (s *Source) People(variant string) ([]Step, error) {
	views := folder("views")
	names, err := fs.Glob(views, "*.sql")
	if err != nil {
		return nil, err
	}
	steps, err := s.renderFrom(views, variant, names)
	for i := range steps {
		steps[i].Name = "views/" + steps[i].Name
	}
	return steps, err
}

// Detect is the query of detect.sql, empty where there is none.
func (s *Source) Detect() (string, error) { return s.query("detect.sql") }

// Variant is the query of variant.sql, empty where there is none.
func (s *Source) Variant() (string, error) { return s.query("variant.sql") }

// After is after.sql; its Up is empty where there is none.
func (s *Source) After(variant string) (Step, error) {
	if _, err := fs.Stat(s.files, "after.sql"); errors.Is(err, fs.ErrNotExist) {
		return Step{}, nil
	}
	steps, err := s.render(variant, []string{"after.sql"})
	if err != nil {
		return Step{}, err
	}
	return steps[0], nil
}

func (s *Source) query(name string) (string, error) {
	text, err := fs.ReadFile(s.files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// render fills in the files of these names.
func (s *Source) render(variant string, names []string) ([]Step, error) {
	return s.renderFrom(s.files, variant, names)
}

func (s *Source) renderFrom(files fs.FS, variant string, names []string) ([]Step, error) {
	values, err := s.values(variant)
	if err != nil {
		return nil, err
	}
	shared, err := s.shared()
	if err != nil {
		return nil, err
	}
	steps := make([]Step, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		up, down, _ := strings.Cut(string(text), separator)
		steps[i] = Step{Name: name}
		if steps[i].Up, err = fill(shared, up, values); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", s.name, name, err)
		}
		if steps[i].Down, err = fill(shared, down, values); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", s.name, name, err)
		}
	}
	return steps, nil
}

func fill(shared *template.Template, text string, values map[string]any) (string, error) {
	set, err := shared.Clone()
	if err != nil {
		return "", err
	}
	if _, err := set.Parse(strings.TrimSpace(text)); err != nil {
		return "", err
	}
	var out strings.Builder
	err = set.Execute(&out, values)
	return out.String(), err
}

// values are what names.json gives, that of the variant last.
func (s *Source) values(variant string) (map[string]any, error) {
	values := map[string]any{"source": s.name, "variant": variant}
	for _, name := range []string{"names.json", path.Join("live", variant, "names.json")} {
		text, err := fs.ReadFile(s.files, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		own := map[string]any{}
		if err := json.Unmarshal(text, &own); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", s.name, name, err)
		}
		maps.Copy(values, own)
	}
	return values, nil
}

// shared are the templates that a file may include.
func (s *Source) shared() (*template.Template, error) {
	set := template.New("").Option("missingkey=error")
	common := folder("common")
	names, err := fs.Glob(common, "*.sql")
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(common, name)
		if err != nil {
			return nil, err
		}
		name = "common/" + name
		texts[name], texts["drop "+name], _ = strings.Cut(string(text), separator)
	}
	if texts["variant.sql"], err = s.Variant(); err != nil {
		return nil, err
	}
	for name, text := range texts {
		if _, err := set.New(name).Parse(strings.TrimSpace(text)); err != nil {
			return nil, err
		}
	}
	return set, nil
}
