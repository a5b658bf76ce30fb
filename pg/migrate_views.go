package pg

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fedsender/fedsender/migrations"
)

// SQLSTATEs of a view and of a function that can't be replaced because their columns are others.
const (
	invalidTableDefinition    = "42P16"
	invalidFunctionDefinition = "42P13"
)

// view is a file of what is made anew: of migrations/views, or of what the source has live.
type view struct {
	name, up, down string
	made           []string // names of the views in it
}

var viewPattern = regexp.MustCompile(`(?m)^create or replace view fedsender\.(\w+)`)

// readViews returns the files in the order in which they are run: the views for people read those of the source.
func readViews(source *migrations.Source, variant string) ([]view, error) {
	live, err := source.Live(variant)
	if err != nil {
		return nil, err
	}
	people, err := source.People(variant)
	if err != nil {
		return nil, err
	}
	var views []view
	for _, step := range slices.Concat(live, people) {
		v := view{name: step.Name, up: step.Up, down: step.Down}
		for _, match := range viewPattern.FindAllStringSubmatch(v.up, -1) {
			v.made = append(v.made, match[1])
		}
		views = append(views, v)
	}
	return views, nil
}

// viewsVersion tells whether views are those of this program. It is kept as the comment of the version table.
func viewsVersion(views []view) string {
	hash := sha256.New()
	for _, v := range views {
		hash.Write([]byte(v.up))
	}
	return fmt.Sprintf("The version of schema fedsender, and of its views: %x", hash.Sum(nil)[:8])
}

func (m *migration) viewsAreFresh(ctx context.Context, views []view) (bool, error) {
	if m.schema.views != viewsVersion(views) {
		return false, nil
	}
	var names []string
	for _, v := range views {
		names = append(names, v.made...)
	}
	var missing bool
	err := m.conn.QueryRow(ctx, `
		select exists (
		  select from unnest($1::text[]) as n(name)
		  where not exists (select from pg_catalog.pg_views v where v.schemaname = 'fedsender' and v.viewname = n.name))`, names).Scan(&missing)
	if err != nil {
		return false, fmt.Errorf("look for the views: %w", err)
	}
	return !missing, nil
}

// grants returns statements that give others again what they may read at this moment; a view that is dropped loses it.
func (m *migration) grants(ctx context.Context) ([]string, error) {
	rows, err := m.conn.Query(ctx, `
		select format('grant %s on fedsender.%I to %s', a.privilege_type, c.relname,
		  case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end)
		from pg_catalog.pg_class c, aclexplode(c.relacl) a
		where c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = 'fedsender')
		  and c.relkind = 'v' and a.grantee <> c.relowner
		order by 1`)
	return collect("read the grants on views", rows, err, pgx.RowTo[string])
}

func (m *migration) makeViews(ctx context.Context, views []view, grants []string) error {
	err := pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, localSearchPath); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, tx, func(nested pgx.Tx) error { return runViews(ctx, nested, views) })
		var server *pgconn.PgError
		if errors.As(err, &server) && (server.Code == invalidTableDefinition || server.Code == invalidFunctionDefinition) {
			// Columns can't be taken out, or changed, but by making it anew.
			for _, v := range slices.Backward(views) {
				if _, err := tx.Exec(ctx, v.down); err != nil {
					return dependents(fmt.Errorf("drop %s: %w", v.name, err))
				}
			}
			err = runViews(ctx, tx, views)
		}
		if err != nil {
			return err
		}
		for _, grant := range grants {
			if _, err := tx.Exec(ctx, grant); err != nil {
				return fmt.Errorf("%s: %w", grant, err)
			}
		}
		_, err = tx.Exec(ctx, "comment on table "+versionTable+" is '"+viewsVersion(views)+"'")
		return err
	})
	if err != nil {
		return fmt.Errorf("make the views: %w", err)
	}
	for _, v := range views {
		m.step(v.name, v.up)
	}
	m.opts.Log.Info("made the views", "schema", "fedsender")
	return nil
}

func runViews(ctx context.Context, tx pgx.Tx, views []view) error {
	for _, v := range views {
		if _, err := tx.Exec(ctx, v.up); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

// makeRows makes the rows of tables that have one again, where they are missing. A role that may not look need not.
func (m *migration) makeRows(ctx context.Context) error {
	for _, single := range singleRows {
		var exists bool
		if err := m.conn.QueryRow(ctx, `select exists (select from fedsender.`+single.table+`)`).Scan(&exists); err != nil {
			var server *pgconn.PgError
			if errors.As(err, &server) && server.Code == insufficientPrivilege {
				continue
			}
			return fmt.Errorf("look for the row of fedsender.%s: %w", single.table, err)
		}
		if exists {
			continue
		}
		if _, err := m.conn.Exec(ctx, single.insert); err != nil {
			return fmt.Errorf("make the row of fedsender.%s: %w", single.table, err)
		}
		m.opts.Log.Warn("made a row that was missing", "table", "fedsender."+single.table)
	}
	return nil
}
