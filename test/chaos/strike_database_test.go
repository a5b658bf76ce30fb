package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fedsender/fedsender/test/postgres"
)

func endLeaseBackend(ctx context.Context, s *storm) time.Duration {
	victim := s.victim()
	lease := s.backend(ctx, victim)
	i := s.suffer(victim.Name)
	if _, err := s.DB.Exec(ctx, `select pg_terminate_backend($1, 60000)`, lease); err != nil {
		s.t.Fatal(err)
	}
	i.struck()
	return s.takeover(ctx, i.at, lease)
}

func endEveryBackend(ctx context.Context, s *storm) time.Duration {
	i := s.suffer("")
	_, err := s.DB.Exec(ctx, `
		select pg_terminate_backend(pid, 60000)
		from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid()`)
	if err != nil {
		s.t.Fatal(err)
	}
	i.struck()
	return s.takeover(ctx, i.at, 0)
}

func restart(mode postgres.StopMode) func(context.Context, *storm) time.Duration {
	return func(ctx context.Context, s *storm) time.Duration {
		i := s.suffer("")
		i.forgets = mode == postgres.Immediate
		s.do(func() error { return s.server.Stop(mode) })
		i.struck()
		wait(ctx, s.upTo(4*time.Second))
		s.do(func() error { return s.server.Restart(ctx) })
		return s.answers(ctx, i)
	}
}

// answers ends an incident in which the database was away.
func (s *storm) answers(ctx context.Context, i *incident) time.Duration {
	s.t.Helper()
	i.over()
	s.DB.Reset()
	return s.takeover(ctx, i.end, 0)
}

// admin connects as an administrator does, and keeps the connection until done.
func (s *storm) admin(ctx context.Context) *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(ctx, s.server.SocketURL("chaos"))
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// exhaustConnections has others take every connection that the server has left.
func exhaustConnections(ctx context.Context, s *storm) time.Duration {
	i := s.suffer("")
	var others []*pgx.Conn
	release := func() {
		for _, conn := range others {
			_ = conn.Close(ctx) // the server ends it in any case
		}
		others = nil
	}
	defer release()
	for {
		conn, err := pgx.Connect(ctx, s.server.SocketURL("postgres"))
		if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && refused.Code == "53300" {
			break
		} else if err != nil {
			s.t.Fatal(err)
		}
		others = append(others, conn)
	}
	wait(ctx, s.between(time.Second, 6*time.Second))
	release()
	return s.answers(ctx, i)
}

// exhaustLocks has others fill the lock table, and has a process leave meanwhile, so that leases must move.
func exhaustLocks(ctx context.Context, s *storm) time.Duration {
	conn := s.admin(ctx)
	defer func() { _ = conn.Close(ctx) }()
	i := s.suffer("")
	// Session locks taken by a statement that fails stay. Smaller and smaller helpings leave no room at all.
	const other = 4242
	first := 0
	for helping := 4096; helping > 0; helping /= 2 {
		for full := false; !full; first += helping {
			_, err := conn.Exec(ctx, fmt.Sprintf(`select pg_advisory_lock(%d, n) from generate_series(%d, %d) n`, other, first, first+helping-1))
			refused := (*pgconn.PgError)(nil)
			if full = errors.As(err, &refused) && refused.Code == "53200"; err != nil && !full {
				s.t.Fatal(err)
			}
		}
	}
	victim := s.victim()
	if err := victim.Stop(ctx); err != nil && ctx.Err() != nil {
		s.t.Fatal(err) // that it could not write its cursors is another matter
	}
	wait(ctx, s.upTo(3*time.Second))
	s.do(func() error { return conn.Close(ctx) })
	i.struck()
	s.abandon(victim.Name)
	return s.takeover(ctx, i.end, 0)
}

// whileLocked does something while an administrator keeps everybody from a table.
func (s *storm) whileLocked(ctx context.Context, table string, do func()) {
	s.t.Helper()
	conn := s.admin(ctx)
	defer func() { _ = conn.Close(ctx) }()
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `lock table `+table)
		do()
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// lockTable has an administrator keep everybody from a table for a while.
func lockTable(name string) func(context.Context, *storm) time.Duration {
	return func(ctx context.Context, s *storm) time.Duration {
		s.whileLocked(ctx, name, func() { wait(ctx, s.between(time.Second, 8*time.Second)) })
		mended := time.Now()
		s.progress(ctx, 1)
		return s.takeover(ctx, mended, 0)
	}
}

// killUnsaved kills a process that could save nothing for some seconds.
func killUnsaved(ctx context.Context, s *storm) time.Duration {
	victim := s.victim()
	i := s.suffer(victim.Name)
	i.silenced = true
	s.whileLocked(ctx, "fedsender.queue_state", func() {
		wait(ctx, s.between(2*time.Second, 5*time.Second))
		victim.Kill()
		i.struck()
	})
	i.over()
	s.abandon(victim.Name)
	return s.takeover(ctx, i.end, 0)
}
