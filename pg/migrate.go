package pg

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/tern/v2/migrate"

	"github.com/fedsender/fedsender/migrations"
)

const (
	versionTable = "fedsender.schema_version"
	// migrateLock is the advisory lock (1717920628, 0): beside the class of the leases.
	migrateLock = 1717920628
	// migratePoll is how often a process asks whether another one has finished. Waiting in the server would end at the
	// role's statement_timeout.
	migratePoll = 200 * time.Millisecond
)

// MigrateOptions says what [Migrate] does.
type MigrateOptions struct {
	Source string // auto or empty: what the schema is of, or whose tables are there, or native; with a slash: its folder
	DryRun bool   // only report
	Down   bool   // remove everything, the rows too
	Log    *slog.Logger
}

// Report is what [Migrate] did, or would do.
type Report struct {
	Source       string
	Variant      string // of the application's tables; empty: there is only one, or it was not asked for
	DryRun, Down bool
	From, To     int32 // versions; 0: no schema
	Steps        []Step
	Silent       []string // tables of the application on which the role may not make triggers, so that processes poll
	Viewer       string   // SQL for an administrator: ViewerRole is missing and the role may not make it; empty: all is well
	Lost         []Loss   // with Down
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
		text := fmt.Sprintf("schema fedsender (%s, version %d) %s removed", r.name(), r.From, is)
		for i, loss := range r.Lost {
			text += fmt.Sprintf("%s %d rows of %s", []string{", with", ","}[min(i, 1)], loss.Rows, loss.Table)
		}
		return text
	case len(r.Steps) == 0:
		return fmt.Sprintf("schema fedsender (%s) is up to date at version %d", r.name(), r.To)
	case r.From == r.To:
		return fmt.Sprintf("schema fedsender (%s, version %d): %sviews made anew", r.name(), r.To, has)
	}
	return fmt.Sprintf("schema fedsender (%s): %smigrated from version %d to %d", r.name(), has, r.From, r.To)
}

func (r Report) name() string { return strings.TrimSpace(r.Source + " " + r.Variant) }

// Step is one file that was run.
type Step struct{ Name, SQL string }

// Loss is a table with rows that was dropped.
type Loss struct {
	Table string
	Rows  int64
}

// Migrate makes schema fedsender or brings it up to date; where it is, it changes and locks nothing. Each migration is a
// transaction of its own, and all views are one; what was interrupted is completed by calling it again. Processes
// that call it together wait for each other. With Down it removes all that it ever made, in one transaction but for
// triggers on tables of the application, each of which has its own: no two of these tables are locked at a time.
//
// Rows of tables that have one are made again where they are missing.
//
// conn must lead to the server itself, not through a transaction pooler. Errors match ErrSchemaNewer, ErrOtherSource,
// ErrBadSource, ErrNotAllowed or ErrInUse where a person can do something about it; they say what.
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
	restore, err := m.setSearchPath(ctx)
	if err != nil {
		return report, err
	}
	defer restore()
	if m.schema, err = readSchema(ctx, conn); err != nil {
		return report, err
	}
	if !opts.Down {
		if err := checkEncoding(m.schema.encoding); err != nil {
			return report, err
		}
	}
	if err := m.choose(ctx); err != nil {
		return report, m.schema.explain(err)
	}
	m.report = Report{Source: m.source, Variant: m.variant, DryRun: opts.DryRun, Down: opts.Down, From: m.schema.version, To: m.schema.version}
	if opts.Down {
		err = m.down(ctx)
	} else if err = m.up(ctx); err == nil && !opts.DryRun {
		err = m.complete(ctx)
	}
	return m.report, m.schema.explain(err)
}

type migration struct {
	conn    *pgx.Conn
	opts    MigrateOptions
	schema  schema
	source  string // its name
	adapter *migrations.Source
	// variant is the form of the application's tables that is found; with Down, that of the schema.
	variant string
	report  Report
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

// setSearchPath has what is made mean the server's own functions, and gives the session back as it was.
func (m *migration) setSearchPath(ctx context.Context) (restore func(), err error) {
	var given string
	if err := m.conn.QueryRow(ctx, `select pg_catalog.current_setting('search_path'), `+setSearchPath).Scan(&given, nil); err != nil {
		return nil, fmt.Errorf("set the search path: %w", err)
	}
	return func() {
		_, _ = m.conn.Exec(context.WithoutCancel(ctx), `select pg_catalog.set_config('search_path', $1, false)`, given)
	}, nil
}

func (m *migration) up(ctx context.Context) error {
	migrator, err := m.load(ctx, nil)
	if err != nil {
		return err
	}
	views, err := readViews(m.adapter, m.variant)
	if err != nil {
		return err
	}
	after, err := m.adapter.After(m.variant)
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
		if after.Up != "" && (len(m.report.Steps) > 0 || m.schema.silent) {
			m.step(after.Name, after.Up)
		}
		m.makeViewer(ctx, views)
		m.report.To = int32(len(migrator.Migrations))
		return nil
	}
	if len(pending) == 0 && fresh {
		if m.schema.silent {
			if err := m.finish(ctx, after); err != nil {
				return err
			}
		}
		m.makeViewer(ctx, views)
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
	if err := m.finish(ctx, after); err != nil {
		return err
	}
	m.makeViewer(ctx, views)
	return m.makeRows(ctx)
}

// finish does what can't be part of a transaction, and notes which triggers it could not make.
func (m *migration) finish(ctx context.Context, after migrations.Step) error {
	if after.Up == "" {
		return nil
	}
	if _, err := m.conn.Exec(ctx, after.Up); err != nil {
		return fmt.Errorf("%s/%s: %w", m.source, after.Name, err)
	}
	m.step(after.Name, after.Up)
	if err := m.conn.QueryRow(ctx, `select silent_tables from fedsender.source`).Scan(&m.report.Silent); err != nil {
		return fmt.Errorf("read which triggers are missing: %w", err)
	}
	return nil
}

// load reads the migrations of the source; with a connection it makes the table for the version.
func (m *migration) load(ctx context.Context, conn *pgx.Conn) (*migrate.Migrator, error) {
	migrator, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", versionTable, err)
	}
	steps, err := m.adapter.Numbered()
	if err != nil {
		return nil, fmt.Errorf("load the migrations of source %s: %w", m.source, err)
	}
	for _, step := range steps {
		// The migrator resets the session's settings before each.
		migrator.AppendMigration(step.Name, localSearchPath+step.Up, step.Down)
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
	if _, pathErr := m.conn.Exec(ctx, `select `+setSearchPath); err == nil {
		err = pathErr
	}
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
	views, err := readViews(m.adapter, m.variant)
	if err != nil {
		return err
	}
	before, err := m.adapter.After(m.variant)
	if err != nil {
		return err
	}
	alone := before.Down != ""
	if alone {
		m.step(before.Name, before.Down)
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
	steps := m.report.Steps
	if alone {
		if err := refuseWhileHeld(ctx, m.conn); err != nil {
			return err
		}
		if _, err := m.conn.Exec(ctx, steps[0].SQL); err != nil {
			return fmt.Errorf("remove %s: %w", steps[0].Name, err)
		}
		steps = steps[1:]
	}
	err = pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
		if err := refuseWhileHeld(ctx, tx); err != nil {
			return err
		}
		for _, step := range steps {
			if _, err := tx.Exec(ctx, step.SQL); err != nil {
				return dependents(fmt.Errorf("remove %s: %w", step.Name, err))
			}
		}
		return nil
	})
	if err == nil {
		m.dropViewer(ctx)
	}
	return err
}
