package lemmy_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

func TestLemmy_Beside_ACursorThatAnotherProgramMovedStopsThatInstance(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		s.exec(`select setval('sent_activity_id_seq', 1000)`)
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)
		moved := int64(500)
		s.exec(`update federation_queue_state set last_successful_id = $2 where instance_id = $1`, a, moved)
		second := s.send()
		s.arrived("b.example", first, second)
		s.until("it is paused", `select state = 'paused' and last_error like '%another program%' from fedsender.instance_status where domain = 'a.example'`)
		s.says("another program")
		taken := s.accepted("a.example") // the second may have been under way
		third := s.send()
		s.arrived("b.example", first, second, third)
		s.settled(b)
		if got := s.cursor(a); got != moved {
			t.Errorf("the cursor that is not ours moved from %d to %d", moved, got)
		}
		if got := s.accepted("a.example"); !slices.Equal(got, taken) {
			t.Errorf("%q arrived, want nothing after %q", got, taken)
		}
		if text, _ := s.command("doctor"); !strings.Contains(text, "a.example") {
			t.Errorf("doctor does not name the instance:\n%s", text)
		}
		s.must("resume", "a.example")
		s.arrived("a.example", append(taken, first, second, third)...)
		s.settled(a)
	})
}

// With Lemmy's own sender admins stop it, edit the cursor and start it again.
func TestLemmy_Beside_ACursorThatIsSetWhileNobodyHoldsItIsWhereItGoesOn(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a, b := s.remote("a.example"), s.remote("b.example")
		third := lemmy.ActivityID("3")
		s.fedi.Instance("a.example").SetBehaviour(s.receiver.Behaviour(fediverse.PerActivity(func(id string) fediverse.Answer {
			if id == third {
				return fediverse.Status(500)
			}
			return nil
		})))
		s.start(1)
		var ids []string
		for range 5 {
			ids = append(ids, s.send())
		}
		beyond := []string{ids[0], ids[1], ids[3], ids[4]} // what is known to be settled beyond the cursor
		s.arrived("a.example", beyond...)
		s.arrived("b.example", ids...)
		s.until("that is saved", `select last_successful_id < ahead_id and ahead_id = $2 from fedsender.source_queue_state where instance_id = $1`, a, s.newest())
		s.halt()
		s.fedi.Instance("a.example").SetBehaviour(nil)
		s.exec(`update federation_queue_state set last_successful_id = 0, fail_count = 0, {last_retry} = null where instance_id = $1`, a)
		skipped := s.send()
		s.exec(`update federation_queue_state set last_successful_id = $2 where instance_id = $1`, b, s.newest())
		s.start(1)
		s.arrived("a.example", append(append(beyond, ids...), skipped)...)
		next := s.send()
		s.arrived("b.example", append(ids, next)...)
		s.settled(a)
		s.settled(b)
		if n := query[int](s, `select count(*) from fedsender.instance_control where paused_until > now()`); n != 0 {
			t.Errorf("%d instances are paused", n)
		}
	})
}

func TestLemmy_Beside_AnUpgradeOfLemmyWhileSendersRun(t *testing.T) {
	t.Parallel()
	s := newScene(t, lemmy.V019)
	a := s.remote("a.example")
	s.loneFan(a, "a.example", "lone")
	s.start(2)
	first := s.send()
	s.settled(a)
	s.tookAt("a.example", map[string]int{"/inbox": 1, "/u/lone/inbox": 1})

	conn := connect(t, s.url)
	ok(t, lemmy.Upgrade(s.ctx, conn)) // our schema does not stand in its way
	s.Line = lemmy.V10
	second := s.send()
	s.says("run: sender migrate")
	if _, code := s.command("doctor"); code == 0 {
		t.Error("doctor finds nothing bad")
	}
	for _, sender := range s.cluster.Senders() {
		ok(t, fleet.Until(s.ctx, sender.Name+" is not ready", func() (bool, error) {
			response, err := sender.Get("/readyz")
			if err != nil {
				return false, err
			}
			return response.StatusCode != http.StatusOK, response.Body.Close()
		}))
	}
	s.must("migrate")
	s.settled(a)
	third := s.send()
	s.settled(a)
	s.tookAt("a.example", map[string]int{"/inbox": 3, "/u/lone/inbox": 3})
	s.arrived("a.example", first, first, second, second, third, third)
	if n := len(s.cluster.Senders()); n != 2 {
		t.Errorf("%d senders run, want both", n)
	}
}

func TestLemmy_Beside_NothingIsLeftWhenItGoes(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		conn := connect(t, s.url)
		things := func() []string {
			return append(columns(t, conn), query[[]string](s, `
				select array_agg(x order by x) from (
				  select tgname::text || ' on ' || tgrelid::regclass as x from pg_trigger where not tgisinternal
				  union all
				  select oid::regprocedure::text from pg_proc where pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
				  union all
				  select nspname from pg_namespace where nspname !~ '^pg_'
				  union all
				  select unnest(relacl)::text || ' ' || relname from pg_class where relnamespace = 'public'::regnamespace
				) t`)...)
		}
		before := things()
		s.start(1)
		first := s.send()
		s.arrived("a.example", first)
		s.settled(a)
		s.halt()
		s.must("migrate", "--down", "--yes")
		if after := things(); !slices.Equal(before, after) {
			t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		stop := s.own()
		second := s.send()
		s.arrived("a.example", first, second)
		stop()
	})
}

// Lemmy's own role owns its tables and has no right in schema fedsender.
func TestLemmy_Beside_TriggersNeverFailWhatLemmyWrites(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		s.migrate()
		conn := connect(t, s.url)
		role := "lemmy_" + strings.ReplaceAll(string(line), ".", "")
		_, err := conn.Exec(s.ctx, `create role `+role+`; grant all on all tables in schema public to `+role+`; grant all on all sequences in schema public to `+role)
		ok(t, err)
		t.Cleanup(func() {
			_, err := conn.Exec(context.WithoutCancel(s.ctx), `drop owned by `+role+`; drop role `+role)
			ok(t, err)
		})
		// Whatever Lemmy writes to each table, at any level of isolation.
		for _, text := range []string{
			`insert into sent_activity (ap_id, data, sensitive, send_inboxes, send_all_instances, actor_type) values (gen_random_uuid()::text, '{}', false, '{}', false, 'site')`,
			`insert into instance (domain) values (gen_random_uuid()::text)`,
			`update instance set domain = domain, {updated} = now()`,
			`update person set inbox_url = inbox_url || 'x' where not local`,
			`update community set {updated} = now()`,
			`update site set inbox_url = inbox_url || '/'`,
			`update local_site set federation_enabled = not federation_enabled`,
			`insert into federation_blocklist (instance_id) select max(id) from instance on conflict do nothing`,
			`delete from federation_blocklist`,
			`insert into federation_allowlist (instance_id) select max(id) from instance on conflict do nothing`,
			`delete from federation_allowlist`,
			`update federation_queue_state set fail_count = 1`,
			map[lemmy.Line]string{
				lemmy.V019: `delete from community_follower`, lemmy.V10: `update community_actions set followed_at = null, follow_state = null`,
			}[line],
			`delete from instance where domain not like '%.example'`,
			`truncate sent_activity`,
		} {
			for _, level := range []string{"read committed", "repeatable read", "serializable"} {
				_, err := conn.Exec(s.ctx, `begin isolation level `+level+`; set local role `+role+`; `+s.SQL(text)+`; commit`)
				if err != nil && !(strings.HasPrefix(text, "truncate") && strings.Contains(err.Error(), "42501")) {
					_, _ = conn.Exec(s.ctx, `rollback`)
					t.Errorf("%s (%s): %v", text, level, err)
				}
			}
		}
	})
}
