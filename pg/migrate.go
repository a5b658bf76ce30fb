package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/tern/v2/migrate"
)

const (
	versionTable = "fedsender.schema_version"
	// migrateLock is the advisory lock (1717920628, 0): beside the class of the leases.
	migrateLock = 1717920628
	// migratePoll is how often a process asks whether another one has finished. Waiting in the server would end at the
	// role's statement_timeout.
	migratePoll = 200 * time.Millisecond

	// dependentObjectsStillExist is the SQLSTATE of a DROP that something else stands in the way of.
	dependentObjectsStillExist = "2BP01"
)

// MigrateOptions says what [Migrate] does.
type MigrateOptions struct {
	Source string // native; auto or empty: what the schema is of, or native
	DryRun bool   // only report
	Down   bool   // remove everything, the rows too
	Log    *slog.Logger
}

// Report is what [Migrate] did, or would do.
type Report struct {
	Source       string
	DryRun, Down bool
	From, To     int32 // versions; 0: no schema
	Steps        []Step
	Lost         []Loss // with Down
}

// String is a line for a person.
func (r Report) String() string {
	has, is := "", "is"
	if r.DryRun {
		has, is = "would be ", "would be"
	}
	switch {
	case r.Down && len(r.Steps) == 0:
		return "there is no schema fedsender"
	case r.Down:
		text := fmt.Sprintf("schema fedsender (%s, version %d) %s removed", r.Source, r.From, is)
		for i, loss := range r.Lost {
			text += fmt.Sprintf("%s %d rows of %s", []string{", with", ","}[min(i, 1)], loss.Rows, loss.Table)
		}
		return text
	case len(r.Steps) == 0:
		return fmt.Sprintf("schema fedsender (%s) is up to date at version %d", r.Source, r.To)
	case r.From == r.To:
		return fmt.Sprintf("schema fedsender (%s, version %d): %sviews made anew", r.Source, r.To, has)
	}
	return fmt.Sprintf("schema fedsender (%s): %smigrated from version %d to %d", r.Source, has, r.From, r.To)
}

// Step is one file that was run.
type Step struct{ Name, SQL string }

// Loss is a table with rows that was dropped.
type Loss struct {
	Table string
	Rows  int64
}

// Migrate makes schema fedsender or brings it up to date; where it is, it changes and locks nothing. Each migration is a
// transaction of its own, and all views are one; what was interrupted is completed by calling it again. Processes
// that call it together wait for each other. With Down it removes all that it ever made, in one transaction.
//
// Rows of tables that have one are made again where they are missing.
//
// conn must lead to the server itself, not through a transaction pooler. Errors match ErrSchemaNewer, ErrOtherSource,
// ErrNotAllowed or ErrInUse where a person can do something about it; they say what.
func Migrate(ctx context.Context, conn *pgx.Conn, opts MigrateOptions) (report Report, err error) {
	m := &migration{conn: conn, opts: opts}
	if m.opts.Log == nil {
		m.opts.Log = slog.New(slog.DiscardHandler)
	}
	if !opts.DryRun {
		unlock, err := m.lock(ctx)
		if err != nil {
			return report, err
		}
		defer unlock()
	}
	if m.schema, err = readSchema(ctx, conn); err != nil {
		return report, err
	}
	if err := m.choose(); err != nil {
		return report, err
	}
	m.report = Report{Source: m.source, DryRun: opts.DryRun, Down: opts.Down, From: m.schema.version, To: m.schema.version}
	if opts.Down {
		err = m.down(ctx)
	} else {
		err = m.up(ctx)
	}
	return m.report, m.schema.explain(err)
}

type migration struct {
	conn   *pgx.Conn
	opts   MigrateOptions
	schema schema
	source string
	report Report
}

// choose finds the source, and refuses a schema that this program does not know.
func (m *migration) choose() error {
	m.source = m.opts.Source
	if m.source == "" || m.source == "auto" {
		m.source = "native"
		if m.schema.source != "" {
			m.source = m.schema.source
		}
	}
	if m.schema.source != "" && m.schema.source != m.source {
		return schemaErrorf(ErrOtherSource, "schema fedsender is for source %s, not %s; remove it first: sender migrate --down", m.schema.source, m.source)
	}
	if err := m.schema.check(); errors.Is(err, ErrSchemaNewer) {
		return err
	}
	if sources[m.source] == nil {
		return schemaErrorf(ErrOtherSource, "there is no source %q; use native", m.source)
	}
	return nil
}

// lock waits until no other process migrates this database.
func (m *migration) lock(ctx context.Context) (unlock func(), err error) {
	for said := false; ; said = true {
		var locked bool
		if err := m.conn.QueryRow(ctx, `select pg_try_advisory_lock($1::int, 0)`, migrateLock).Scan(&locked); err != nil {
			return nil, fmt.Errorf("lock the schema: %w", err)
		}
		if locked {
			break
		}
		if !said {
			m.opts.Log.Info("another process migrates this database; waiting until it has finished")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process migrates this database: %w", ctx.Err())
		case <-time.After(migratePoll):
		}
	}
	return func() {
		// The session's end does it too.
		_, _ = m.conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock($1::int, 0)`, migrateLock)
	}, nil
}

func (m *migration) up(ctx context.Context) error {
	migrator, err := m.load(ctx, nil)
	if err != nil {
		return err
	}
	views, err := readViews()
	if err != nil {
		return err
	}
	pending := migrator.Migrations[m.schema.version:]
	fresh, err := m.viewsAreFresh(ctx, views)
	if err != nil {
		return err
	}
	if m.opts.DryRun {
		for _, p := range pending {
			m.step(p.Name, p.UpSQL)
		}
		if len(pending) > 0 || !fresh {
			for _, v := range views {
				m.step(v.name, v.up)
			}
		}
		m.report.To = int32(len(migrator.Migrations))
		return nil
	}
	if len(pending) == 0 && fresh {
		return m.makeRows(ctx)
	}
	grants, err := m.grants(ctx)
	if err != nil {
		return err
	}
	if err := m.migrate(ctx, len(pending) > 0); err != nil {
		// The migrations before the one that failed may have dropped views. These are of the newest version and may not fit.
		if viewsErr := m.makeViews(ctx, views, grants); viewsErr != nil {
			m.opts.Log.Debug("left without views", "error", viewsErr)
		}
		return err
	}
	if err := m.makeViews(ctx, views, grants); err != nil {
		return err
	}
	return m.makeRows(ctx)
}

// load reads the migrations of the source; with a connection it makes the table for the version.
func (m *migration) load(ctx context.Context, conn *pgx.Conn) (*migrate.Migrator, error) {
	migrator, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", versionTable, err)
	}
	if err := migrator.LoadMigrations(sources[m.source]); err != nil {
		return nil, fmt.Errorf("load the migrations of source %s: %w", m.source, err)
	}
	return migrator, nil
}

func (m *migration) migrate(ctx context.Context, pending bool) error {
	if m.schema.owner == "" {
		if _, err := m.conn.Exec(ctx, `create schema fedsender`); err != nil {
			return fmt.Errorf("create schema fedsender: %w", err)
		}
	}
	if !pending {
		return nil
	}
	migrator, err := m.load(ctx, m.conn)
	if err != nil {
		return err
	}
	migrator.OnStart = func(_ int32, name, _, sql string) {
		m.step(name, sql)
		m.opts.Log.Info("migrating", "file", m.source+"/"+name)
	}
	err = migrator.Migrate(ctx)
	if version, versionErr := migrator.GetCurrentVersion(ctx); versionErr == nil {
		m.report.To = version
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (m *migration) step(name, sql string) {
	m.report.Steps = append(m.report.Steps, Step{Name: name, SQL: sql})
}

func (m *migration) down(ctx context.Context) error {
	if m.schema.owner == "" {
		return nil
	}
	migrator, err := m.load(ctx, nil)
	if err != nil {
		return err
	}
	views, err := readViews()
	if err != nil {
		return err
	}
	for _, v := range slices.Backward(views) {
		m.step(v.name, v.down)
	}
	for _, done := range slices.Backward(migrator.Migrations[:m.schema.version]) {
		m.step(done.Name, done.DownSQL)
	}
	last := "drop table if exists " + versionTable
	if m.schema.owner == m.schema.role {
		last += ";\ndrop schema fedsender"
	}
	m.step("schema", last)
	m.report.To = 0
	if m.report.Lost, err = countRows(ctx, m.conn); err != nil || m.opts.DryRun {
		return err
	}
	return pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
		if err := refuseWhileHeld(ctx, tx); err != nil {
			return err
		}
		for _, step := range m.report.Steps {
			if _, err := tx.Exec(ctx, step.SQL); err != nil {
				return dependents(fmt.Errorf("remove %s: %w", step.Name, err))
			}
		}
		return nil
	})
}

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
		  and c.relkind = 'r' and c.relname <> all (array['schema_version', 'balance', 'doorbell', 'feed', 'sweep'])
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
