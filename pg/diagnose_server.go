package pg

import (
	"fmt"
	"strings"
	"time"
)

const (
	// skewWarn is far below the hour that receivers allow a signature's Date to differ, and above any round trip.
	skewWarn = 5 * time.Second
	// longTransaction is older than any that an application should have; writers that long hold up the feed.
	longTransaction = 5 * time.Minute
	// queueWarn is how full the notification queue may be. Full, it fails the application's commits.
	queueWarn, queueBad = 0.1, 0.5
)

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
		d.add("other sessions", Warn, "track_activities is off: gaps of ids must be decided by pg_locks, which is slower, and a process that hangs keeps its leases, because nobody sees that it is silent", "turn track_activities on")
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
