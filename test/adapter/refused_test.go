package adapter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copied is a copy of Quill's adapter in a folder of that name, with other words in one of its files.
func copied(t *testing.T, name, file, old, other string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	ok(t, os.CopyFS(dir, os.DirFS("quill")))
	text, err := os.ReadFile(filepath.Join(dir, file))
	ok(t, err)
	changed := strings.Replace(string(text), old, other, 1)
	if changed == string(text) {
		t.Fatalf("%s has no %q", file, old)
	}
	ok(t, os.WriteFile(filepath.Join(dir, file), []byte(changed), 0o644))
	return dir
}

func TestFolder_ThatIsNotAsItShouldBeIsRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		folder, says string
	}{
		"no folder":    {"./quil", "there is no folder ./quil"},
		"nothing":      {t.TempDir(), "has no migration in it"},
		"a known name": {copied(t, "lemmy", "names.json", "peer", "peer "), "a folder can't be called lemmy"},
		"a name alone": {"quill", "--source must be auto, lemmy, native or a folder such as ./quill"},
		"another name": {copied(t, "quill", "002_source.sql", "{{ .source }}", "feather"), `says that its name is "feather"; call the folder so`},
		"an old one":   {copied(t, "quill", "003_functions.sql", `{{ template "common/cursors.sql" . }}`, ""), "source quill does not make pass_cursors(integer[], bigint[], bigint, timestamp with time zone) SETOF integer"},
		"another type": {copied(t, "quill", "002_source.sql", "url || '#main-key'", "(url || '#main-key')::varchar"), "source quill does not make source_actor.key_id text"},
		"no such name": {copied(t, "quill", "names.json", "seen_is_old", "seen_is"), "seen_is_old"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			if text, code := s.command("migrate", "--source", c.folder); code == 0 || !strings.Contains(text, c.says) {
				t.Errorf("migrate ends with %d: %s", code, text)
			}
		})
	}
}

func TestFolder_IsNeededByMigrateAlone(t *testing.T) {
	s := newScene(t)
	if text, code := s.command("run", "--source", folder); code != 2 || !strings.Contains(text, "run: sender migrate") {
		t.Errorf("without a schema run ends with %d: %s", code, text)
	}
	s.must("migrate", "--source", folder)
	if text, code := s.command("run", "--source", "native"); code != 2 || !strings.Contains(text, "the schema is made for quill") {
		t.Errorf("for another source run ends with %d: %s", code, text)
	}
	if text, code := s.command("migrate"); code != 2 || !strings.Contains(text, "name its folder") {
		t.Errorf("without the folder migrate ends with %d: %s", code, text)
	}
	if text, code := s.command("migrate", "--source", "native"); code != 2 || !strings.Contains(text, "schema fedsender is for source quill, not native") {
		t.Errorf("for another source migrate ends with %d: %s", code, text)
	}
	// As a release does that needs more of an adapter than this one makes.
	s.exec(`drop function fedsender.pass_cursors(integer[], bigint[], bigint, timestamptz)`)
	for _, verb := range []string{"run", "status", "doctor"} {
		if text, code := s.command(verb); code == 0 || !strings.Contains(text, "lacks pass_cursors") || !strings.Contains(text, "--source FOLDER/quill") {
			t.Errorf("%s ends with %d: %s", verb, code, text)
		}
	}
}

func TestFolder_IsUpgradedByOneMoreFile(t *testing.T) {
	s := newScene(t)
	s.start(1)
	first := s.write(letter{})
	s.arrived(toad, first)
	newer := filepath.Join(t.TempDir(), "quill")
	ok(t, os.CopyFS(newer, os.DirFS("quill")))
	ok(t, os.WriteFile(filepath.Join(newer, "005_note.sql"), []byte(`
		comment on schema fedsender is 'of Quill';
		---- create above / drop below ----
		comment on schema fedsender is null;`), 0o644))
	if text := s.must("migrate", "--source", newer); !strings.Contains(text, "upgraded from version 4 to 5") {
		t.Errorf("migrate says: %s", text)
	}
	if text, code := s.command("migrate", "--source", folder); code != 2 || !strings.Contains(text, "newer than") {
		t.Errorf("with an older folder migrate ends with %d: %s", code, text)
	}
	second := s.write(letter{})
	s.arrived(toad, first, second)
}
