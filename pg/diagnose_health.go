package pg

import (
	"fmt"
	"strings"
	"time"
)

const (
	// shortStatement is less than reading everything may take with millions of followers.
	shortStatement = time.Minute
	// oldTransactions and dyingTransactions are ages in transactions: at 2^31 less some millions the server takes no writes.
	oldTransactions, dyingTransactions = 1_000_000_000, 1_900_000_000
)

func (d *diagnosis) encoding() {
	const what = "encoding"
	var encoding string
	if !d.ask(what, `select current_setting('server_encoding')`, &encoding) {
		return
	}
	if encoding != "UTF8" {
		d.add(what, Bad, "the database is encoded in "+encoding+" and can't hold what remote servers say: sender run refuses it", "move it to a database that is made with: create database … encoding 'UTF8' template template0")
		return
	}
	d.add(what, OK, "UTF8", "")
}

// serverConnections looks how many more processes the server has room for, whoever uses the rest.
func (d *diagnosis) serverConnections() {
	const what = "server connections"
	var most, used int
	if !d.ask(what, `
		select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int - coalesce(current_setting('reserved_connections', true), '0')::int,
			(select coalesce(sum(numbackends), 0) from pg_stat_database)::int`, &most, &used) {
		return
	}
	says := fmt.Sprintf("%d of %d are in use", used, most)
	if most-used < ProcessConns {
		d.add(what, Warn, fmt.Sprintf("%s: there is no room for another process, which uses up to %d", says, ProcessConns),
			fmt.Sprintf("alter system set max_connections = %d and restart the server, or end idle sessions of others", most+most/2+10*ProcessConns))
		return
	}
	d.add(what, OK, fmt.Sprintf("%s: room for %d more processes", says, (most-used)/ProcessConns), "")
}

// replication looks whether commits wait for a standby that is not there.
func (d *diagnosis) replication() {
	const what = "replication"
	var names string
	var waits bool
	var standbys, synchronous, hidden int
	if !d.ask(what, `
		select current_setting('synchronous_standby_names'), current_setting('synchronous_commit') not in ('off', 'local'),
			count(*), count(*) filter (where sync_state in ('sync', 'quorum')), count(*) filter (where sync_state is null)
		from pg_stat_replication`, &names, &waits, &standbys, &synchronous, &hidden) {
		return
	}
	switch {
	case names != "" && waits && synchronous == 0 && hidden == 0:
		d.add(what, Bad, "each commit waits for a synchronous standby ("+names+"), and none is connected: writes hang", "start the standby, or: alter system set synchronous_standby_names = ''; select pg_reload_conf()")
	case standbys > 0:
		d.add(what, OK, fmt.Sprintf("%d standbys are connected", standbys), "")
	default:
		d.add(what, OK, "there is no standby", "")
	}
}

// slots looks for those that keep WAL for somebody who does not come.
func (d *diagnosis) slots() {
	const what = "replication slots"
	var idle []string
	if !d.ask(what, `select coalesce(array_agg(slot_name::text order by slot_name), '{}') from pg_replication_slots where not active and restart_lsn is not null`, &idle) {
		return
	}
	if len(idle) > 0 {
		d.add(what, Warn, "nobody uses "+strings.Join(idle, ", ")+": the server keeps its log since then, until the disk is full and nothing is written any more",
			fmt.Sprintf("start who uses it, or: select pg_drop_replication_slot('%s')", idle[0]))
		return
	}
	d.add(what, OK, "none keeps the log for nobody", "")
}

func (d *diagnosis) durability() {
	const what = "durability"
	var fsync, pages, commits bool
	if !d.ask(what, `
		select current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('synchronous_commit') <> 'off'`, &fsync, &pages, &commits) {
		return
	}
	switch {
	case !fsync:
		d.add(what, Warn, "fsync is off: if the machine crashes, the database may be lost", "alter system set fsync = on; select pg_reload_conf()")
	case !pages:
		d.add(what, Warn, "full_page_writes is off: if the machine crashes, the database may be damaged", "alter system set full_page_writes = on; select pg_reload_conf()")
	case !commits:
		d.add(what, Warn, "synchronous_commit is off: if the server crashes, the last activities of the application are lost, and the last deliveries are made again",
			"set synchronous_commit = on, at least for the application")
	default:
		d.add(what, OK, "what is committed outlives a crash", "")
	}
}

func (d *diagnosis) autovacuum() {
	const what = "autovacuum"
	var runs bool
	if !d.ask(what, `select current_setting('autovacuum')::bool and current_setting('track_counts')::bool`, &runs) {
		return
	}
	if !runs {
		d.add(what, Warn, "it is off: rows that are written each second, such as cursors, make their tables grow and slow", "alter system set autovacuum = on; alter system set track_counts = on; select pg_reload_conf()")
		return
	}
	d.add(what, OK, "it is on", "")
}

// wraparound looks how far the server is from taking no writes (Postgres manual, section 25.1.5).
func (d *diagnosis) wraparound() {
	const what = "transaction ids"
	var oldest int64
	if !d.ask(what, `select coalesce(max(age(datfrozenxid)), 0)::bigint from pg_database where datallowconn`, &oldest) {
		return
	}
	const mend = "end old transactions, prepared ones and unused replication slots, then: vacuum (freeze) in each database"
	says := fmt.Sprintf("the oldest that is not frozen is %d million transactions old; at 2,100 million the server takes no writes", oldest/1_000_000)
	switch {
	case oldest > dyingTransactions:
		d.add(what, Bad, says, mend)
	case oldest > oldTransactions:
		d.add(what, Warn, says, mend)
	default:
		d.add(what, OK, "there are enough", "")
	}
}

// timeouts looks for one that ends what takes long for a reason.
func (d *diagnosis) timeouts() {
	const what = "time-outs"
	var statement int64
	var user string
	if !d.ask(what, `select setting::bigint, quote_ident(current_user) from pg_settings where name = 'statement_timeout'`, &statement, &user) {
		return
	}
	if limit := time.Duration(statement) * time.Millisecond; limit > 0 && limit < shortStatement {
		d.add(what, Warn, fmt.Sprintf("statement_timeout is %s: at the start a process reads all followers, which may take longer", limit), "alter role "+user+" set statement_timeout = 0")
		return
	}
	d.add(what, OK, "none ends what a process does", "")
}
