package lemmy_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// An upgrade is one transaction that locks one table after the other. Whoever waits for it and has a table that it comes to
// later is in a circle with it, and Postgres may end the upgrade.
func TestLemmy_Beside_AnUpgradeIsNeverTheVictimOfADeadlock(t *testing.T) {
	t.Parallel()
	s := newScene(t, lemmy.V019)
	slow := s.receiver.Behaviour(fediverse.Always(fediverse.Slow(20*time.Millisecond, fediverse.OK)))
	var instances []int32
	for _, domain := range []string{"a.example", "b.example", "c.example"} {
		instances = append(instances, s.remote(domain))
		s.fedi.Instance(domain).SetBehaviour(slow) // so that there is a backlog
	}
	s.start(2)
	conn := connect(t, s.url)
	var sent []string
	for _, order := range [][2]string{
		{"local_site", "sent_activity"},
		{"sent_activity", "local_site"},
		{"instance", "sent_activity"},
		{"instance", "federation_queue_state"},
		{"local_site, site, instance, person, community", "sent_activity, federation_queue_state"},
	} {
		for range 50 {
			sent = append(sent, s.send())
		}
		s.lockInTurn(conn, order[0], order[1])
	}
	ok(t, lemmy.UpgradeSlowly(s.ctx, conn, 30*time.Millisecond))
	s.Line = lemmy.V10
	s.must("migrate")
	for _, instance := range instances {
		s.settled(instance)
	}
	s.arrived("a.example", sent...)
}

// lockInTurn is a transaction like that of an upgrade: it has the first tables for so long that a sender who waits for them
// all the while has looked for a circle and found none, and then needs the others.
func (s *scene) lockInTurn(conn *pgx.Conn, first, second string) {
	s.t.Helper()
	tx, err := conn.Begin(s.ctx)
	ok(s.t, err)
	defer func() { ok(s.t, tx.Rollback(s.ctx)) }()
	_, err = tx.Exec(s.ctx, `lock table `+first)
	ok(s.t, err)
	s.until("a sender waits for "+first, `
		select count(*) > 0
		from pg_locks
		where not granted and locktype = 'relation' and database = (select oid from pg_database where datname = current_database())`)
	_, err = tx.Exec(s.ctx, `select pg_sleep(1.1)`)
	ok(s.t, err)
	if _, err := tx.Exec(s.ctx, `lock table `+second); err != nil {
		s.t.Errorf("%s, then %s: %v", first, second, err)
	}
}
