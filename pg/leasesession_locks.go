package pg

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// LeasePeer is one process that has a lease session. It is an alias, so that packages that declare the same struct
// need not import this one.
type LeasePeer = struct {
	ID      string        // of the process
	PID     int32         // of the server's backend
	Since   time.Time     // start of that backend; zero where it is hidden from our role
	Age     time.Duration // of the session, by the server's clock; where it is hidden, longer than any
	IdleFor time.Duration // since the session's last statement; 0 for ourselves and where it is hidden
	Mine    bool          // our role may end the session
	Self    bool          // the very session that was asked
	Leaving bool          // it shuts down

	MaxLeases int   // that it may hold; 0: no limit
	Weights   int64 // the version that it plans with; 0: none
}

// How often locks that a failed statement left are read back, the last time to see that none is left.
const cleanUpRounds = 3

// The functions stand in the target list over unnest, with nothing else in the statement: the planner can't run them
// twice for one row, which would leave a lock that has to be given up twice.
const (
	lockSQL   = `select id, pg_try_advisory_lock($1::int, id) from unnest($2::int[]) as u (id)`
	unlockSQL = `select id, pg_advisory_unlock($1::int, id) from unnest($2::int[]) as u (id)`
	ringSQL   = `select pg_notify('fedsender_lease', $1)`
)

// Lock tries each id without waiting and returns those that it got. It must not be asked for an id that is held: session
// locks count how often they are taken. With an error nothing of ids is held, or the session is lost.
func (s *LeaseSession) Lock(ctx context.Context, ids []int32) ([]int32, error) {
	var got []int32
	err := s.call(ctx, "take leases", func(ctx context.Context) error {
		locked, err := s.each(ctx, lockSQL, ids)
		if err == nil {
			got = locked
			return nil
		}
		if full := (*pgconn.PgError)(nil); errors.As(err, &full) && full.Code == "53200" {
			err = fmt.Errorf("%w (%w)", ErrLockTableFull, err)
		}
		return s.cleanUp(ctx, ids, err)
	})
	return got, err
}

// Unlock gives ids up and rings with bell then, unless that is empty, all in one round trip. With an error the session is
// lost. That nobody hears the bell is no error: they look again after a while.
func (s *LeaseSession) Unlock(ctx context.Context, ids []int32, bell string) error {
	return s.call(ctx, "give leases up", func(ctx context.Context) error {
		done, err := s.unlock(ctx, ids, bell)
		switch {
		case err != nil && len(done) == len(ids) && !s.conn.IsClosed():
			return s.ringAgain(ctx, bell) // only the bell failed: what is unlocked stays so
		case err != nil:
			if err = s.cleanUp(ctx, ids, err); s.conn.IsClosed() {
				return err
			}
			return s.ringAgain(ctx, bell) // cleaning up has given them up
		case len(done) < len(ids):
			return s.end(ctx, errNotHeld)
		}
		return nil
	})
}

// unlock sends both statements together: what is heard when they end comes after the locks were given up.
func (s *LeaseSession) unlock(ctx context.Context, ids []int32, bell string) (done []int32, err error) {
	if bell == "" {
		return s.each(ctx, unlockSQL, ids)
	}
	batch := &pgx.Batch{}
	batch.Queue(unlockSQL, LeaseClass, ids).Query(func(rows pgx.Rows) (err error) {
		done, err = affirmed(rows, len(ids))
		return err
	})
	batch.Queue(ringSQL, bell)
	err = s.conn.SendBatch(ctx, batch).Close()
	return done, err
}

// ringAgain rings for what was given up another way, if there is still a session.
func (s *LeaseSession) ringAgain(ctx context.Context, bell string) error {
	if bell == "" {
		return nil
	}
	if _, err := s.conn.Exec(ctx, ringSQL, bell); err != nil && !s.conn.IsClosed() {
		s.log.Warn("could not ring for the other processes; they look again within 5 s", "error", err)
	}
	return nil
}

// each runs a statement over ids and returns those for which it said true.
func (s *LeaseSession) each(ctx context.Context, sql string, ids []int32) ([]int32, error) {
	rows, err := s.conn.Query(ctx, sql, LeaseClass, ids)
	if err != nil {
		return nil, err
	}
	return affirmed(rows, len(ids))
}

// affirmed are the ids of rows that say true.
func affirmed(rows pgx.Rows, most int) ([]int32, error) {
	yes := make([]int32, 0, most)
	var id int32
	var ok bool
	_, err := pgx.ForEachRow(rows, []any{&id, &ok}, func() error {
		if ok {
			yes = append(yes, id)
		}
		return nil
	})
	return yes, err
}

// cleanUp gives up what of ids is held: session locks stay when the statement that took them fails. It returns why it was
// needed; if it fails itself it ends the session, which does the same.
func (s *LeaseSession) cleanUp(ctx context.Context, ids []int32, why error) error {
	if s.conn.IsClosed() {
		return why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseCallTimeout)
	defer cancel()
	ours := make(map[int32]bool, len(ids))
	for _, id := range ids {
		ours[id] = true
	}
	for range cleanUpRounds {
		held, err := s.held(ctx)
		if err != nil {
			return s.end(ctx, errors.Join(why, err))
		}
		var stray []int32
		for _, id := range held {
			if ours[id] {
				stray = append(stray, id)
			}
		}
		if len(stray) == 0 {
			return why
		}
		if _, err := s.each(ctx, unlockSQL, stray); err != nil {
			return s.end(ctx, errors.Join(why, err))
		}
	}
	return s.end(ctx, fmt.Errorf("%w; what it had locked can't be given up", why))
}

// held reads back which leases this session has. It is dear where many are held: only for when something failed.
func (s *LeaseSession) held(ctx context.Context) ([]int32, error) {
	rows, err := s.conn.Query(ctx, `
		select objid::int
		from pg_locks
		where locktype = 'advisory'
			and pid = pg_backend_pid()
			and classid = $1::int::oid
			and objsubid = 2`, LeaseClass)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int32])
}

// end closes the connection because of why.
func (s *LeaseSession) end(ctx context.Context, why error) error {
	_ = s.conn.Close(ctx) // the socket is closed in any case
	return why
}

// Beat is the heartbeat: who has a lease session, ourselves included. It also sees that the session is still the one that
// was opened and that the server still takes writes, and ends it otherwise.
func (s *LeaseSession) Beat(ctx context.Context) ([]LeasePeer, error) {
	var present []LeasePeer
	err := s.call(ctx, "heartbeat", func(ctx context.Context) error {
		peers, err := s.peers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers {
			if p.Self && p.PID == s.pid && p.ID == s.id {
				present = peers
				return nil
			}
		}
		return s.end(ctx, ErrPooled)
	})
	return present, err
}

// peers reads times as microseconds, because their text depends on DateStyle, and the function beneath pg_stat_activity,
// because that view takes more time to plan than all the rest.
func (s *LeaseSession) peers(ctx context.Context) ([]LeasePeer, error) {
	rows, err := s.conn.Query(ctx, `
		select
			application_name,
			pid,
			(extract(epoch from backend_start) * 1000000)::bigint,
			(extract(epoch from clock_timestamp()) * 1000000)::bigint,
			coalesce((extract(epoch from clock_timestamp() - state_change) * 1000000)::bigint, 0),
			coalesce(pg_has_role(usesysid, 'usage') or pg_has_role('pg_signal_backend', 'usage')
				and not (select rolsuper from pg_roles r where r.oid = usesysid), false),
			pid = pg_backend_pid(),
			`+takesNoWrites+`
		from pg_stat_get_activity(null)
		where datid = (select oid from pg_database where datname = current_database())
			and application_name like 'fedsender:%'`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p LeasePeer, err error) {
		var name string
		var since *int64
		var clock, idle int64
		var readOnly bool
		if err := row.Scan(&name, &p.PID, &since, &clock, &idle, &p.Mine, &p.Self, &readOnly); err != nil {
			return p, err
		}
		if readOnly {
			return p, ErrReadOnly
		}
		said := parseLeaseName(name)
		p.ID, p.Leaving, p.MaxLeases, p.Weights = said.id, said.leaving, said.maxLeases, said.weights
		p.Age = math.MaxInt64
		if since != nil {
			p.Since = time.UnixMicro(*since)
			p.Age = time.Duration(clock-*since) * time.Microsecond
		}
		if !p.Self {
			p.IdleFor = max(0, time.Duration(idle)*time.Microsecond)
		}
		return p, nil
	})
}

// Terminate ends the peer's session if it is still the one that Beat reported. One that is gone is no error.
func (s *LeaseSession) Terminate(ctx context.Context, peer LeasePeer) error {
	if peer.Since.IsZero() {
		return fmt.Errorf("end the session of process %s: when it began is hidden from this role", peer.ID)
	}
	return s.call(ctx, "end the session of process "+peer.ID, func(ctx context.Context) error {
		_, err := s.conn.Exec(ctx, `
			select pg_terminate_backend(pid)
			from pg_stat_activity
			where pid = $1::int
				and split_part(application_name, ':', 2) = $2::text
				and (extract(epoch from backend_start) * 1000000)::bigint = $3::bigint`,
			peer.PID, peer.ID, peer.Since.UnixMicro())
		return err
	})
}
