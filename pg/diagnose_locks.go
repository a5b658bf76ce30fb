package pg

import "fmt"

func (d *diagnosis) sequence() {
	var source, table string
	var cache int64
	if !d.ask("activity ids", `select name, activity_table::regclass::text, coalesce(sequence_cache, 0) from fedsender.source`, &source, &table, &cache) {
		return
	}
	if cache != 1 {
		d.add("activity ids", Bad, fmt.Sprintf("the sequence of %s has CACHE %d: ids appear out of order and activities could be missed", table, cache),
			"alter sequence "+d.idSequence()+" cache 1")
		return
	}
	d.add("activity ids", OK, fmt.Sprintf("source %s, table %s, drawn one by one", source, table), "")
}

// idSequence is what the ids of activities are drawn from.
func (d *diagnosis) idSequence() string {
	name := "…"
	_ = d.conn.QueryRow(d.ctx, `select min(sequence::regclass::text) from (`+idSequences+`) s (sequence) join pg_sequence q on q.seqrelid = sequence`).Scan(&name) // the dots say it, too
	return name
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
