package pg

import (
	"context"
	"fmt"
)

const (
	// ProcessConns is how many connections a process uses: one for its leases, one to listen, and the pool.
	ProcessConns = 2 + PoolConns
	// LeastConns is how many it can't do without: one for its leases and one to read.
	LeastConns = 2
)

// ConnectionLimit is how many connections the role, or the database, may have at one time, all clients together.
type ConnectionLimit struct {
	Most int    // negative: there is no such limit
	Of   string // whose limit it is: "role sender"
}

// Lacks tells that fewer than so many connections are allowed.
func (l ConnectionLimit) Lacks(wanted int) bool { return l.Most >= 0 && l.Most < wanted }

// String goes on after "the".
func (l ConnectionLimit) String() string {
	return fmt.Sprintf("connection limit of %s is %d", l.Of, l.Most)
}

// Remedy is the statement that gives one process enough.
func (l ConnectionLimit) Remedy() string {
	return fmt.Sprintf("alter %s connection limit %d, or that many for each process", l.Of, ProcessConns)
}

// ReadConnectionLimit reads the smaller one of the role's and the database's. Superusers have none.
func ReadConnectionLimit(ctx context.Context, q Querier) (l ConnectionLimit, err error) {
	err = q.QueryRow(ctx, `
		select l.most, l.name
		from pg_roles r, pg_database d, lateral (values
			('role ' || quote_ident(r.rolname), case when r.rolsuper then -1 else r.rolconnlimit end),
			('database ' || quote_ident(d.datname), case when r.rolsuper then -1 else d.datconnlimit end)) as l (name, most)
		where r.rolname = session_user and d.datname = current_database()
		order by l.most < 0, l.most
		limit 1`).Scan(&l.Most, &l.Of)
	if err != nil {
		return l, fmt.Errorf("read how many connections the role may have: %w", err)
	}
	return l, nil
}

// connections looks whether one process has enough of them.
func (d *diagnosis) connections() {
	const what = "connections"
	limit, err := ReadConnectionLimit(d.ctx, d.conn)
	switch {
	case err != nil:
		d.unknown(what, err)
	case limit.Lacks(LeastConns):
		d.add(what, Bad, fmt.Sprintf("the %s, and a process needs %d", limit, LeastConns), limit.Remedy())
	case limit.Lacks(ProcessConns):
		d.add(what, Warn, fmt.Sprintf("the %s, and a process uses up to %d: it is slower with fewer", limit, ProcessConns), limit.Remedy())
	default:
		d.add(what, OK, "the role may have enough of them for a process", "")
	}
}
