package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// smallDisk holds what a long run writes, and its log.
const smallDisk = 512 << 20

func tightServer(ctx context.Context, t *testing.T, s *storm) string {
	return s.serve(ctx, t, postgres.Options{Disk: smallDisk, Settings: map[string]string{
		"max_connections": "80", "max_wal_size": "64MB", "min_wal_size": "32MB",
	}})
}

// fillDisk leaves the database no room for a while. It may end with a panic, and not come back by itself.
func fillDisk(ctx context.Context, s *storm) time.Duration {
	i := s.suffer("")
	i.forgets = true
	s.do(s.server.FillDisk)
	wait(ctx, s.between(time.Second, 5*time.Second))
	s.do(s.server.FreeDisk)
	if !s.takesWrites(ctx) {
		s.do(func() error { return s.server.Restart(ctx) })
	}
	i.struck()
	return s.answers(ctx, i)
}

// takesWrites gives the server a little time to recover by itself.
func (s *storm) takesWrites(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return fleet.Until(ctx, "the server answers", func() (bool, error) {
		conn, err := pgx.Connect(ctx, s.server.SocketURL("chaos"))
		if err != nil {
			return false, nil
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, `create temp table room as select 1`)
		return err == nil, nil
	}) == nil
}

func replicatedServer(ctx context.Context, t *testing.T, s *storm) string {
	t.Helper()
	s.serve(ctx, t, postgres.Options{})
	replica, err := s.server.Replica(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Error(err)
		}
	})
	s.replica = replica
	if err := s.synchronise(ctx, "*"); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/chaos?sslmode=disable&target_session_attrs=read-write",
		s.server.Port(), replica.Port())
}

// synchronise has commits wait for the standbys ("*"), or for nobody. Cursors are committed without waiting in any case.
func (s *storm) synchronise(ctx context.Context, standbys string) error {
	conn, err := pgx.Connect(ctx, s.server.SocketURL("chaos"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range []string{`set synchronous_commit = local`, `alter system set synchronous_standby_names = '` + standbys + `'`, `select pg_reload_conf()`} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return fleet.Until(ctx, "the standby is synchronous", func() (bool, error) {
		var synchronous bool
		err := conn.QueryRow(ctx, `select exists (select from pg_stat_replication where sync_state = 'sync')`).Scan(&synchronous)
		return synchronous == (standbys != ""), err
	})
}

// promote ends the primary, makes the replica the primary, and has the former one follow it.
func promote(ctx context.Context, s *storm) time.Duration {
	i := s.suffer("")
	i.forgets = true
	if s.random.IntN(2) == 0 {
		s.do(s.server.Kill)
	} else {
		s.do(func() error { return s.server.Stop(postgres.Fast) })
	}
	i.struck()
	wait(ctx, s.upTo(2*time.Second))
	former := s.server
	s.server, s.replica = s.replica, former
	s.do(func() error { return s.server.Promote(ctx) })
	s.do(func() error { return s.synchronise(ctx, "") })
	took := s.answers(ctx, i)
	s.do(func() error { return former.Follow(ctx, s.server) })
	s.do(func() error { return s.synchronise(ctx, "*") })
	return took
}
