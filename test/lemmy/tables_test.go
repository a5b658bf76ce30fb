package lemmy_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

// database has the tables of a line.
func database(t *testing.T, line lemmy.Line) string {
	t.Helper()
	return postgres.Database(t, func(ctx context.Context, url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }() // the tables are what counts
		return lemmy.Create(ctx, conn, line)
	})
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// columns are those of schema public with their types and all that belongs to them.
func columns(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		select format('%s.%s %s null:%s default:%s', table_name, column_name, coalesce(domain_name, udt_name), is_nullable, column_default)
		from information_schema.columns
		where table_schema = 'public'
		union all
		select indexdef from pg_indexes where schemaname = 'public'
		union all
		select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
		from pg_constraint where connamespace = 'public'::regnamespace
		order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUpgrade_MakesTheTablesOf10OutOfThoseOf019(t *testing.T) {
	upgraded, made := connect(t, database(t, lemmy.V019)), connect(t, database(t, lemmy.V10))
	if err := lemmy.Upgrade(t.Context(), upgraded); err != nil {
		t.Fatal(err)
	}
	got, want := columns(t, upgraded), columns(t, made)
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("only after the upgrade: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing after the upgrade: %s", line)
		}
	}
}
