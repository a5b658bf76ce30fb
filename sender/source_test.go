package sender

import (
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/worker"
)

// reopen reads fedsender.source again after it was made to say something else.
func (b *bench) reopen(source map[string]string) {
	b.t.Helper()
	b.exec(fleet.Source(source))
	b.closeClient()
	if _, err := b.open(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) letters() (reasons []string) {
	b.t.Helper()
	b.dispatcher.mu.Lock()
	defer b.dispatcher.mu.Unlock()
	for _, l := range b.dispatcher.unsaved.Letters {
		reasons = append(reasons, l.Inbox+": "+l.Reason)
	}
	return reasons
}

func (b *bench) activityTo(inbox string) {
	b.t.Helper()
	b.exec(`
		insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
		values ('https://home.example/' || gen_random_uuid(), '{"type":"Note"}', $1, array[$2])`, b.actor, inbox)
}

func TestSource_InboxWithAPortIsDeadLetteredWhereItSaysSo(t *testing.T) {
	b := newBench(t)
	b.reopen(map[string]string{"explicit_ports": "false"})
	b.activityTo("https://a.example:80/inbox")
	b.read()
	if got := b.letters(); len(got) != 1 || got[0] != `https://a.example:80/inbox: the inbox on "a.example:80" names a port, which servers of this kind do not have` {
		t.Errorf("letters: %q", got)
	}
	b.known("b.example:80")
	b.activityTo("https://b.example:80/inbox")
	b.read()
	o := b.client.Post(t.Context(), "https://b.example:80/inbox", nil, nil)
	if worker.Class(o.Class) != worker.Unusable {
		t.Errorf("a delivery to a port is %s: %s", o.Class, o.Reason)
	}
}

func (b *bench) known(domain string) (id int32) {
	b.t.Helper()
	b.scan(&id, `insert into fedsender.instance (domain) values ($1) returning id`, domain)
	return id
}

func TestSource_RulesOfTheWorkersAreThoseOfTheSource(t *testing.T) {
	b := newBench(t)
	id := b.known("a.example")
	b.exec(`update fedsender.instance set created_at = now() - interval '4 days'`)
	b.reopen(map[string]string{"dead_after_failures": "0", "unauthorized_tries": "2"})
	b.exec(`insert into fedsender.change (kind) values ('instances')`)
	b.read()
	if err := b.Acquired(t.Context(), []int32{id}); err != nil {
		t.Fatal(err)
	}
	b.dispatcher.change([]int32{id}, func(s *slot, now time.Time) {
		if !s.worker.Dead(now) {
			t.Error("an instance that is silent for 4 days is not dead")
		}
	})
	if tries := b.limits().Rules.UnauthorizedTries; tries != 2 {
		t.Errorf("a 401 is tried again %d times, want 2", tries)
	}
}

func TestNewClient_TakesTheTimeOutOfTheSourceUnlessOneWasSet(t *testing.T) {
	b := newBench(t)
	b.reopen(map[string]string{"request_timeout": "interval '125 s'"})
	if got := b.timeout(b.source.Load()); got != time.Second {
		t.Errorf("a time-out that was set became %s", got)
	}
	b.config.RequestTimeout = 0
	if got := b.timeout(b.source.Load()); got != 125*time.Second {
		t.Errorf("the source's time-out became %s", got)
	}
}

func TestAdopt_InboxOfAnInstanceThatOnlyTheApplicationCanMakeIsDeadLettered(t *testing.T) {
	b := newBench(t)
	b.exec(`
		create or replace function fedsender.adopt_instances(domains text[]) returns setof integer
		language sql as $$ select 1 where false $$`)
	b.activityTo("https://nobody.example/inbox")
	b.read()
	if got := b.letters(); len(got) != 1 || got[0] != "https://nobody.example/inbox: there is no instance nobody.example for the inbox" {
		t.Errorf("letters: %q", got)
	}
}

func TestKey_OfAnActivityThatIsGoneSpoilsNotThoseOfItsActor(t *testing.T) {
	b := newBench(t)
	gone, there := b.activity(), b.activity()
	b.exec(`delete from fedsender.activity where id = $1`, gone)
	name := keyName{actorID: b.actor}
	if _, err := b.key(t.Context(), gone, name); err != errGone {
		t.Errorf("the key of an activity that is gone: %v", err)
	}
	if key, err := b.key(t.Context(), there, name); err != nil || key.reason != "" {
		t.Errorf("the key of one that is there: %q, %v", key.reason, err)
	}
}
