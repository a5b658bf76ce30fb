package pg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Verdict of a [Finding].
const (
	OK   = "ok"
	Warn = "warn" // it works, but not as well as it could, or not for long
	Bad  = "bad"  // it does not work
)

// Finding is one thing that was looked at.
type Finding struct {
	What    string `json:"what"`
	Verdict string `json:"verdict"`
	Says    string `json:"says"`           // what was found and what it means
	Mend    string `json:"mend,omitempty"` // what to do; empty when ok
}

const (
	// minVersion has SQL functions with a parsed body (begin atomic), which the migrations use.
	minVersion = 14
	// skewWarn is far below the hour that receivers allow a signature's Date to differ, and above any round trip.
	skewWarn = 5 * time.Second
	// longTransaction is older than any that an application should have; writers that long hold up the feed.
	longTransaction = 5 * time.Minute
	// queueWarn is how full the notification queue may be. Full, it fails the application's commits.
	queueWarn, queueBad = 0.1, 0.5
	// checkLimit is for one check; those that read most take a second with 30,000 instances.
	checkLimit = 5 * time.Second
	// leaseLimit is for the lease connection, which is made up to three times.
	leaseLimit = 4 * checkLimit
)

// Diagnose looks at everything about the database that a first run can get wrong; lease is the configuration of the
// lease session, the same as cfg where none is set apart. It changes nothing. What can't be looked at is a finding too;
// without a connection, that is the only one.
func Diagnose(ctx context.Context, cfg, lease *pgx.ConnConfig) []Finding {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return []Finding{connectFinding("database", err, cfg)}
	}
	d := &diagnosis{cfg: cfg, conn: conn}
	defer func() { _ = d.conn.Close(context.WithoutCancel(ctx)) }()
	d.add("database", OK, "reached "+where(cfg), "")
	pooled, there, here := false, false, ServerID{}
	checks := []func(){
		func() { pooled = d.statementPooled() },
		d.server, d.clock, d.connections,
		func() { there = d.schema() },
		d.ifSchema(&there, d.rights), d.ifSchema(&there, d.sourceRights), d.ifSchema(&there, d.sequence), d.ifSchema(&there, d.rows), d.ifSchema(&there, d.locks),
		d.ifSchema(&there, d.places), d.ifSchema(&there, d.strangers), d.ifSchema(&there, d.triggers), d.ifSchema(&there, d.strays), d.ifSchema(&there, d.beyond), d.ifSchema(&there, d.federation),
		d.senders, d.roles, d.visibility, d.prepared, d.notifications, d.longTransactions,
		func() { here = d.identity() },
	}
	for _, check := range checks {
		if !d.within(ctx, check) || pooled {
			break
		}
	}
	leaseCtx, cancel := context.WithTimeout(ctx, leaseLimit)
	defer cancel()
	return append(d.findings, diagnoseLease(leaseCtx, lease, here)...)
}

// within gives a check its time. One that does not end costs the connection; false: there is no other.
func (d *diagnosis) within(ctx context.Context, check func()) bool {
	if d.conn.IsClosed() {
		conn, err := pgx.ConnectConfig(ctx, d.cfg)
		if err != nil {
			d.findings = append(d.findings, connectFinding("database", err, d.cfg))
			return false
		}
		d.conn = conn
	}
	var cancel context.CancelFunc
	d.ctx, cancel = context.WithTimeout(ctx, checkLimit)
	defer cancel()
	check()
	return true
}

func (d *diagnosis) ifSchema(there *bool, check func()) func() {
	return func() {
		if *there {
			check()
		}
	}
}

func (d *diagnosis) statementPooled() bool {
	err := CheckTransactions(d.ctx, d.conn)
	switch {
	case errors.Is(err, ErrStatementPooled):
		d.add("database", Bad, "it is behind a pooler that refuses transactions (pool_mode=statement)", "set it to pool_mode=transaction, or DATABASE_URL to a direct connection")
		return true
	case err != nil:
		d.unknown("database", err)
	}
	return false
}

func connectFinding(what string, err error, cfg *pgx.ConnConfig) Finding {
	err = Explain(err, cfg)
	if failed, ok := err.(*ConnectError); ok {
		return Finding{What: what, Verdict: Bad, Says: "can't connect to " + failed.Where + ": " + failed.Problem, Mend: failed.Remedy}
	}
	return Finding{What: what, Verdict: Bad, Says: Sentence(err), Mend: "check the connection string"}
}

type diagnosis struct {
	ctx      context.Context // of the check that is made
	cfg      *pgx.ConnConfig
	conn     *pgx.Conn
	findings []Finding
}

func (d *diagnosis) add(what, verdict, says, mend string) {
	d.findings = append(d.findings, Finding{What: what, Verdict: verdict, Says: says, Mend: mend})
}

// ask reads one row; where that fails it says so and returns false.
func (d *diagnosis) ask(what, sql string, into ...any) bool {
	if err := d.conn.QueryRow(d.ctx, sql).Scan(into...); err != nil {
		d.unknown(what, err)
		return false
	}
	return true
}

func (d *diagnosis) server() {
	var number int
	var version string
	var readOnly bool
	if !d.ask("server", `
		select current_setting('server_version_num')::int, current_setting('server_version'),
			pg_is_in_recovery() or current_setting('transaction_read_only')::bool`, &number, &version, &readOnly) {
		return
	}
	switch {
	case number < minVersion*10000:
		d.add("server", Bad, "Postgres "+version+" is too old", fmt.Sprintf("upgrade it to %d or later", minVersion))
	case readOnly:
		d.add("server", Bad, "it takes no writes: a standby, or default_transaction_read_only is on", "connect to the primary, or list all hosts with target_session_attrs=read-write")
	default:
		d.add("server", OK, "Postgres "+version+", takes writes", "")
	}
}

func (d *diagnosis) clock() {
	var there int64
	before := time.Now()
	if !d.ask("clock", `select (extract(epoch from clock_timestamp()) * 1000000)::bigint`, &there) {
		return
	}
	here := before.Add(time.Since(before) / 2)
	skew := time.UnixMicro(there).Sub(here).Round(time.Millisecond)
	if skew.Abs() > skewWarn {
		d.add("clock", Warn, fmt.Sprintf("this machine and the database differ by %s; receivers refuse signatures of a wrong time", skew.Abs()), "run NTP on both")
		return
	}
	d.add("clock", OK, "this machine and the database agree", "")
}

func (d *diagnosis) sequence() {
	var source, table string
	var cache int64
	if !d.ask("activity ids", `select name, activity_table::regclass::text, coalesce(sequence_cache, 0) from fedsender.source`, &source, &table, &cache) {
		return
	}
	if cache != 1 {
		d.add("activity ids", Bad, fmt.Sprintf("the sequence of %s has CACHE %d: ids appear out of order and activities could be missed", table, cache),
			"alter sequence … cache 1")
		return
	}
	d.add("activity ids", OK, fmt.Sprintf("source %s, table %s, drawn one by one", source, table), "")
}

func (d *diagnosis) locks() {
	budget, err := LockBudget(d.ctx, d.conn)
	if err != nil {
		d.unknown("lock table", err)
		return
	}
	var instances int
	if !d.ask("lock table", `select count(*) from fedsender.source_instance`, &instances) {
		return
	}
	if instances > budget {
		d.moreLocks(instances, budget)
		return
	}
	d.add("lock table", OK, fmt.Sprintf("%d instances, room for %d leases", instances, budget), "")
}

// moreLocks names the setting that gives every instance a lease, with a fifth more to grow.
func (d *diagnosis) moreLocks(instances, budget int) {
	var wanted, now int
	if !d.ask("lock table", fmt.Sprintf(`
		select ceil(%d * 1.2 * 2 / (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int))::int,
			current_setting('max_locks_per_transaction')::int`, instances), &wanted, &now) {
		return
	}
	d.add("lock table", Warn, fmt.Sprintf("%d instances, but leases may use only %d entries (half the lock table): they take turns", instances, budget),
		fmt.Sprintf("alter system set max_locks_per_transaction = %d (it is %d) and restart the server", wanted, now))
}

func (d *diagnosis) visibility() {
	var seesOthers, tracks bool
	var user string
	if !d.ask("other sessions", `
		select pg_has_role(current_user, 'pg_read_all_stats', 'usage'), current_setting('track_activities')::bool, quote_ident(current_user)`,
		&seesOthers, &tracks, &user) {
		return
	}
	switch {
	case !tracks:
		d.add("other sessions", Warn, "track_activities is off: gaps of ids must be decided by pg_locks, which is slower", "turn track_activities on")
	case !seesOthers:
		d.add("other sessions", Warn, "transactions of other roles are hidden: gaps of ids must be decided by pg_locks, which is slower", "grant pg_read_all_stats to "+user)
	default:
		d.add("other sessions", OK, "their transactions can be seen", "")
	}
}

func (d *diagnosis) prepared() {
	var allowed, old int
	if !d.ask("prepared transactions", `
		select current_setting('max_prepared_transactions')::int,
			(select count(*) from pg_prepared_xacts where database = current_database() and prepared < now() - interval '5 minutes')`, &allowed, &old) {
		return
	}
	switch {
	case old > 0:
		d.add("prepared transactions", Warn, fmt.Sprintf("%d are older than 5 minutes: what they wrote, and all activities after it, wait for them", old),
			"see pg_prepared_xacts; commit prepared or rollback prepared")
	case allowed > 0:
		d.add("prepared transactions", Warn, "they are allowed, and one that has notified can't be prepared, so there is no NOTIFY: processes poll", "set max_prepared_transactions = 0 if nobody uses them")
	default:
		d.add("prepared transactions", OK, "none", "")
	}
}

func (d *diagnosis) notifications() {
	var usage float64
	if !d.ask("notification queue", `select pg_notification_queue_usage()`, &usage) {
		return
	}
	says := fmt.Sprintf("%.0f %% full", usage*100)
	mend := "a session that listens stays in a transaction: see pg_stat_activity for the oldest one"
	switch {
	case usage > queueBad:
		d.add("notification queue", Bad, says+"; when it is full, commits of the application fail", mend)
	case usage > queueWarn:
		d.add("notification queue", Warn, says+"; when it is full, commits of the application fail", mend)
	default:
		d.add("notification queue", OK, says, "")
	}
}

func (d *diagnosis) longTransactions() {
	var pids []int32
	var oldest float64
	if !d.ask("long transactions", fmt.Sprintf(`
		select coalesce(array_agg(pid order by xact_start), '{}'), coalesce(extract(epoch from now() - min(xact_start)), 0)::float8
		from pg_stat_activity
		where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
			and xact_start < now() - interval '%d seconds'`, int(longTransaction.Seconds())), &pids, &oldest) {
		return
	}
	if len(pids) == 0 {
		d.add("long transactions", OK, "none", "")
		return
	}
	d.add("long transactions", Warn, fmt.Sprintf("pid %s: the oldest is open for %s; one that writes activities holds up all later ones",
		joinPIDs(pids), time.Duration(oldest*float64(time.Second)).Round(time.Second)), "see pg_stat_activity; end it, or pg_terminate_backend(pid)")
}

func joinPIDs(pids []int32) string {
	const shown = 5
	texts := make([]string, 0, shown+1)
	for i, pid := range pids {
		if i == shown {
			texts = append(texts, fmt.Sprintf("and %d more", len(pids)-shown))
			break
		}
		texts = append(texts, fmt.Sprint(pid))
	}
	return strings.Join(texts, ", ")
}
