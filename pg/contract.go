package pg

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/migrations"
)

// contract is what schema fedsender has for this program, whatever the source: columns with their types and functions with
// what they take and return, a line each. A test writes it from the native source.
//
//go:embed contract.txt
var contract string

// shape lists what there is of schema fedsender in the form of contract.txt.
const shape = `
	select format('%s.%s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
	from pg_catalog.pg_class c
	join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
	where c.relnamespace = 'fedsender'::regnamespace and c.relkind in ('r', 'v')
	union all
	select format('%s(%s) %s', p.proname, pg_catalog.oidvectortypes(p.proargtypes), pg_catalog.pg_get_function_result(p.oid))
	from pg_catalog.pg_proc p
	where p.pronamespace = 'fedsender'::regnamespace and p.prorettype <> 'trigger'::regtype`

// lacking is what the contract has and the schema has not.
func lacking(ctx context.Context, q Querier) ([]string, error) {
	rows, err := q.Query(ctx, `select line from unnest($1::text[]) with ordinality as c(line, place) where line not in (`+shape+`) order by place`,
		strings.Split(strings.TrimSpace(contract), "\n"))
	return collect("look whether the source is complete", rows, err, pgx.RowTo[string])
}

// checkComplete is for a schema whose source is not part of the program: all that the program needs must be there.
func (s schema) checkComplete() error {
	if len(s.lacks) == 0 {
		return nil
	}
	return schemaErrorf(ErrSchemaNewer, "schema fedsender is for source %q, which is not part of this sender, and lacks %s; run: %s, or install the sender that made it",
		s.source, someOf(s.lacks), migrateCommand(s.source))
}

// complete refuses what the folder of a source has made if it is not all that is needed.
func (m *migration) complete(ctx context.Context) error {
	if sources[m.source] != nil {
		return nil
	}
	var says string
	if err := m.conn.QueryRow(ctx, `select name from fedsender.source`).Scan(&says); err != nil {
		return fmt.Errorf("read what the source is called: %w", err)
	}
	if says != m.source {
		return schemaErrorf(ErrBadSource, "the view fedsender.source says that its name is %q; call the folder so, or write '{{ .source }}' there", says)
	}
	lacks, err := lacking(ctx, m.conn)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return schemaErrorf(ErrBadSource, "source %s does not make %s; see docs/adapters.md", m.source, someOf(lacks))
}

// shownLacks bounds a list for a person.
const shownLacks = 5

func someOf(lacks []string) string {
	if more := len(lacks) - shownLacks; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(lacks[:shownLacks], "; "), more)
	}
	return strings.Join(lacks, "; ")
}

// migrateCommand is how a person makes or removes the schema of this source.
func migrateCommand(source string) string {
	if sources[source] != nil {
		return "sender migrate"
	}
	return "sender migrate --source FOLDER/" + source
}

// SourceName is what a source is called that was named by itself or by its folder.
func SourceName(source string) string {
	if migrations.IsFolder(source) {
		return migrations.FolderName(source)
	}
	return source
}
