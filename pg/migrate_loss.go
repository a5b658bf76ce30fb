package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// refuseWhileHeld: to processes that run, a vanishing schema is a database that has gone mad.
func refuseWhileHeld(ctx context.Context, q Querier) error {
	rows, err := q.Query(ctx, `
		select distinct coalesce(substring(a.application_name from '^fedsender:[^:]+'), a.application_name, '')
		from pg_locks l
		left join pg_stat_activity a using (pid)
		where l.locktype = 'advisory' and l.classid = 1717920627 and l.objsubid = 2
		  and l.database = (select d.oid from pg_database d where d.datname = current_database())`)
	names, err := collect("look for running processes", rows, err, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return err
	}
	return schemaErrorf(ErrInUse, "%d sender processes deliver from this database (%s); stop them first", len(names), printable(strings.Join(names, ", ")))
}

// dependentObjectsStillExist is the SQLSTATE of a DROP that something else stands in the way of.
const dependentObjectsStillExist = "2BP01"

// dependents makes a sentence of what stands in the way of a DROP.
func dependents(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != dependentObjectsStillExist {
		return err
	}
	return schemaErrorf(ErrInUse, "%s (%s); drop what is not sender's and make it again afterwards", server.Message, printable(server.Detail))
}

// countRows tells what a person is about to lose.
func countRows(ctx context.Context, q Querier) ([]Loss, error) {
	rows, err := q.Query(ctx, `
		select c.relname
		from pg_catalog.pg_class c
		where c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = 'fedsender')
		  and c.relkind = 'r' and c.relname <> all (array['schema_version', 'autoscale_setting', 'balance', 'demand', 'doorbell', 'feed', 'sweep'])
		order by 1`)
	tables, err := collect("list the tables", rows, err, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var lost []Loss
	for _, table := range tables {
		loss := Loss{Table: "fedsender." + table}
		if err := q.QueryRow(ctx, `select count(*) from `+pgx.Identifier{"fedsender", table}.Sanitize()).Scan(&loss.Rows); err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", loss.Table, err)
		}
		if loss.Rows > 0 {
			lost = append(lost, loss)
		}
	}
	return lost, nil
}
