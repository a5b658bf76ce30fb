package pg

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ViewerRole is the role that may read the views for people, and nothing else. Roles are those of the whole server: where
// several of its databases have schema fedsender, it reads the views of each.
const ViewerRole = "fedsender_viewer"

const (
	// viewerComment tells a role that Migrate made from one that an administrator did, which stays.
	viewerComment = "Reads the views of schema fedsender. Made by sender migrate."
	// viewerTries: another database of the server may make or drop the role at the same moment.
	viewerTries = 3
)

// SQLSTATEs of a role that is made at the same moment; undefinedObject is that of one that is gone.
const (
	duplicateObject = "42710"
	uniqueViolation = "23505"
)

// viewer is what there is of the role.
type viewer struct {
	exists, mayMake bool
	missing         []string // GRANTs that it lacks
}

// readViewer looks for the role, and for what it may not do yet. Of functions it needs those that the views call.
func (m *migration) readViewer(ctx context.Context, views []view) (v viewer, err error) {
	var names []string
	for _, file := range views {
		if strings.HasPrefix(file.name, "views/") {
			names = append(names, file.made...)
		}
	}
	err = m.conn.QueryRow(ctx, `
		select exists (select from pg_catalog.pg_roles where rolname = $1::text),
		  (select rolsuper or rolcreaterole from pg_catalog.pg_roles where rolname = current_user)`, ViewerRole).Scan(&v.exists, &v.mayMake)
	if err != nil || !v.exists && !v.mayMake {
		return v, wrap("look for role "+ViewerRole, err)
	}
	rows, err := m.conn.Query(ctx, `
		with role as (
		  select (select oid from pg_catalog.pg_roles where rolname = $1::text) as oid
		), schema as (
		  select (select oid from pg_catalog.pg_namespace where nspname = 'fedsender') as oid
		), wanted as (
		  select 1 as place, 'usage on schema fedsender' as what,
		    coalesce((select has_schema_privilege(r.oid, n.oid, 'usage') from role r, schema n), false) as granted
		  union all
		  select 2, 'select on fedsender.' || quote_ident(c.name), coalesce((select has_table_privilege(r.oid, t.oid, 'select')
		    from role r, schema n, pg_catalog.pg_class t where t.relnamespace = n.oid and t.relname = c.name), false)
		  from unnest($2::text[]) as c(name)
		  union all
		  select 3, 'execute on function ' || p.oid::regprocedure, coalesce((select has_function_privilege(r.oid, p.oid, 'execute') from role r), has_function_privilege('public', p.oid, 'execute'))
		  from pg_catalog.pg_proc p
		  where p.pronamespace = (select oid from schema) and p.proname = any ($3::text[])
		)
		select format('grant %s to %I', what, $1::text) from wanted where not granted order by place, what`, ViewerRole, names, viewerFunctions)
	v.missing, err = collect("look what role "+ViewerRole+" may do", rows, err, pgx.RowTo[string])
	return v, err
}

// viewerFunctions are those that the views call with the rights of who reads them. They only read.
var viewerFunctions = []string{
	"held_leases", "sessions", "lag_slot", "lag_distance", "autoscale_at", "shown_instances", "shown_ids", "shown_times", "shown_lists",
}

// makeViewer makes the role and gives it what it lacks. What this role may not do is reported as SQL for an administrator;
// nothing of it stops a migration.
func (m *migration) makeViewer(ctx context.Context, views []view) {
	for try := 1; ; try++ {
		statements, err := m.tryViewer(ctx, views)
		if err == nil {
			return
		}
		var server *pgconn.PgError
		raced := errors.As(err, &server) && (server.Code == duplicateObject || server.Code == uniqueViolation || server.Code == undefinedObject)
		if !raced || try == viewerTries {
			m.report.Viewer = strings.Join(statements, "; ")
			m.opts.Log.Debug("could not make the role for dashboards", "role", ViewerRole, "error", Sentence(err))
			return
		}
	}
}

// tryViewer returns the statements that failed.
func (m *migration) tryViewer(ctx context.Context, views []view) (statements []string, err error) {
	v, err := m.readViewer(ctx, views)
	if err != nil {
		return nil, err
	}
	if !v.exists {
		statements = []string{"create role " + ViewerRole + " nologin"}
		if !v.mayMake {
			m.report.Viewer = statements[0]
			return nil, nil
		}
		statements = append(statements, "comment on role "+ViewerRole+" is '"+viewerComment+"'")
	}
	statements = append(statements, v.missing...)
	if len(statements) == 0 {
		return nil, nil
	}
	if !m.opts.DryRun {
		err := pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, strings.Join(statements, ";\n"))
			return err
		})
		if err != nil {
			return statements, err
		}
	}
	m.step("viewer", strings.Join(statements, ";\n"))
	return nil, nil
}

// dropViewer takes away what the role may in a schema that stays, and the role itself if Migrate made it and nobody uses
// it: no other database of the server, no member. It is the last thing; if it can't be done, the role stays.
func (m *migration) dropViewer(ctx context.Context) {
	var made, exists, schema bool
	err := m.conn.QueryRow(ctx, `
		select r.oid is not null,
		  coalesce(shobj_description(r.oid, 'pg_authid') = $2::text and not exists (select from pg_catalog.pg_auth_members a where a.roleid = r.oid
		    and a.member <> (select u.oid from pg_catalog.pg_roles u where u.rolname = current_user)), false),
		  exists (select from pg_catalog.pg_namespace where nspname = 'fedsender')
		from (select) one
		left join pg_catalog.pg_roles r on r.rolname = $1::text`, ViewerRole, viewerComment).Scan(&exists, &made, &schema)
	if err == nil && exists && schema {
		_, err = m.conn.Exec(ctx, "revoke usage on schema fedsender from "+ViewerRole)
	}
	if err == nil && made {
		_, err = m.conn.Exec(ctx, "drop role "+ViewerRole)
	}
	if err != nil {
		m.opts.Log.Debug("left the role for dashboards", "role", ViewerRole, "error", Sentence(err))
	}
}
