package pg

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"
)

// Verdict of a [Finding].
const (
	OK      = "ok"
	Warn    = "warn" // it works, but not as well as it could, or not for long
	Bad     = "bad"  // it does not work
	Skipped = "skip" // it was not looked at, and why
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
	// diagnosisLimit is for all checks together: a person waits for it. Those that are left then are named.
	diagnosisLimit = 10 * time.Second
	// checkLimit is for one check; those that read most take a tenth of a second with 30,000 instances.
	checkLimit = 3 * time.Second
	// setCheckLockTimeout is how long a check waits for a lock.
	setCheckLockTimeout = `set_config('lock_timeout', '1s', false)`
	// diagnosisConnect is for an attempt to connect, all hosts together.
	diagnosisConnect = 4 * time.Second
)

// Outside is what [Diagnose] needs of who calls it, and gives to him. The zero value does without.
type Outside struct {
	// Peers is told once, early, which remote servers can be tried; none where that can't be read.
	Peers func([]Peer)
	// CheckKey says what is wrong with a private key. It must not say what the key is.
	CheckKey func(keyID, pem string) error
	// Version is that of the asking program; empty: it is compared with nobody's.
	Version string
}

// Diagnose looks at everything about the database that a first run can get wrong; lease is the configuration of the
// lease session, the same as cfg where none is set apart. It changes nothing, and ends within 13 s whatever hangs. What can't be
// looked at is a finding too; without a connection, that is the only one.
func Diagnose(ctx context.Context, cfg, lease *pgx.ConnConfig, outside Outside) []Finding {
	ctx, cancel := context.WithTimeout(ctx, diagnosisLimit)
	defer cancel()
	here := make(chan ServerID, 1)
	var ofLease []Finding
	var group conc.WaitGroup
	group.Go(func() { ofLease = diagnoseLease(ctx, boundConnect(lease), here) })
	found := diagnoseDatabase(ctx, boundConnect(cfg), outside, here)
	group.Wait()
	return append(found, ofLease...)
}

// boundConnect gives all hosts together the time for one attempt.
func boundConnect(cfg *pgx.ConnConfig) *pgx.ConnConfig {
	cfg = cfg.Copy()
	if most := diagnosisConnect / time.Duration(len(hosts(cfg))); cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > most {
		cfg.ConnectTimeout = most
	}
	return cfg
}

// diagnoseDatabase tells here which server it is, as soon as that is known, and closes it.
func diagnoseDatabase(ctx context.Context, cfg *pgx.ConnConfig, outside Outside, here chan<- ServerID) []Finding {
	d := &diagnosis{cfg: setUp(cfg, setCheckLockTimeout), outside: outside}
	if d.outside.Peers == nil {
		d.outside.Peers = func([]Peer) {}
	}
	told := false
	tellPeers := func(peers []Peer) {
		if !told {
			told = true
			d.outside.Peers(peers)
		}
	}
	defer tellPeers(nil)
	defer close(here)
	conn, err := pgx.ConnectConfig(ctx, d.cfg)
	if err != nil {
		return []Finding{connectFinding("database", err, cfg)}
	}
	d.conn = conn
	defer func() { _ = d.conn.Close(context.WithoutCancel(ctx)) }()
	d.add("database", OK, "reached "+where(cfg), "")
	pooled, there := false, false
	checks := []check{
		{"database", func() { pooled = d.statementPooled() }},
		{"server identity", func() { here <- d.identity() }},
		{"server", d.server}, {"schema", func() { there = d.schema() }},
		{"", d.ifSchema(&there, func() { tellPeers(d.peers()) })},
		{"parts of the schema", d.ifSchema(&there, d.parts)},
		{"clock", d.clock}, {"encoding", d.encoding}, {"connections", d.connections}, {"server connections", d.serverConnections},
		{"rights", d.ifSchema(&there, d.rights)}, {"rights on the application's tables", d.ifSchema(&there, d.sourceRights)},
		{"activity ids", d.ifSchema(&there, d.sequence)}, {"single rows", d.ifSchema(&there, d.rows)}, {"lock table", d.ifSchema(&there, d.locks)},
		{"SENDER_MAX_LEASES", d.ifSchema(&there, d.places)}, {"locks of others", d.ifSchema(&there, d.strangers)},
		{"triggers", d.ifSchema(&there, d.triggers)}, {"moved cursors", d.ifSchema(&there, d.strays)}, {"cursors", d.ifSchema(&there, d.beyond)},
		{"federation", d.ifSchema(&there, d.federation)}, {"domains", d.ifSchema(&there, d.domains)}, {"keys", d.ifSchema(&there, d.keys)},
		{"sender processes", d.senders}, {"versions", d.ifSchema(&there, d.versions)}, {"roles of senders", d.roles},
		{"other sessions", d.visibility}, {"prepared transactions", d.prepared}, {"notification queue", d.notifications},
		{"long transactions", d.longTransactions}, {"replication", d.replication}, {"replication slots", d.slots}, {"durability", d.durability},
		{"autovacuum", d.autovacuum}, {"transaction ids", d.wraparound}, {"time-outs", d.timeouts},
	}
	for i, check := range checks {
		if !d.within(ctx, check.run) || pooled {
			break
		}
		if ctx.Err() != nil {
			d.outOfTime(checks[i+1:])
			break
		}
	}
	return d.findings
}

// check is one thing to look at; what: as its findings call it, empty where it has none.
type check struct {
	what string
	run  func()
}

// outOfTime names what was not looked at.
func (d *diagnosis) outOfTime(left []check) {
	var names []string
	for _, c := range left {
		if c.what != "" {
			names = append(names, c.what)
		}
	}
	if len(names) > 0 {
		d.add("time", Bad, "the database answers so slowly that these were not looked at: "+strings.Join(names, ", "), "mend what is bad above, then run: sender doctor")
	}
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
	outside  Outside
	findings []Finding
	blocker  *locker // who is in the way, as far as it was found out
	looked   bool    // for a blocker: once, because that takes time itself
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
