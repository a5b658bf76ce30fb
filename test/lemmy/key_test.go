package lemmy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/lemmy"
)

// Receivers know the key by the name under which they have fetched it.
func TestLemmy_Key_IsNamedAsEachActivitySpellsItsActor(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		s.start(1)
		var ids []string
		for n, spelled := range []string{s.community.APID, strings.Replace(s.community.APID, "https://home", "https://HOME", 1), s.community.APID} {
			s.fedi.Register(spelled+"#main-key", &s.community.Key.PublicKey)
			id := lemmy.ActivityID(fmt.Sprint("spelled-", n))
			// The receiver objects to the name of any other key.
			s.insert(lemmy.Activity{Name: fmt.Sprint("spelled-", n), Actor: s.community, FollowersOf: s.community,
				Data: fmt.Sprintf(`{"id":"%s","actor":"%s"}`, id, spelled)})
			ids = append(ids, id)
		}
		s.arrived("a.example", ids...)
	})
}

func TestLemmy_Key_OneThatIsExchangedIsUsedFromTheNextActivityOn(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		s.start(1)
		first := s.send(by(s.person))
		s.arrived("a.example", first)
		s.exec(`update person set private_key = (select private_key from community where id = $1) where id = $2`, s.community.ID, s.person.ID)
		s.fedi.Register(s.person.KeyID(), &s.community.Key.PublicKey)
		second := s.send(by(s.person))
		s.arrived("a.example", first, second)
	})
}

func TestLemmy_Key_OneThatIsMendedSendsTheDeadLetterToo(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.exec(`update person set private_key = replace(private_key, 'M', '') where id = $1`, s.person.ID)
		nobody := lemmy.Actor{Kind: "person", APID: "https://" + lemmy.Home + "/u/eve"}
		s.start(1)
		broken, missing := s.send(by(s.person)), s.send(by(nobody))
		s.settled(a)
		if got := s.letters(); len(got) != 2 {
			t.Fatalf("dead letters %q, want two", got)
		}
		key := query[string](s, `select private_key from community where id = $1`, s.community.ID)
		s.exec(`update person set private_key = $1 where id = $2`, key, s.person.ID)
		s.fedi.Register(s.person.KeyID(), &s.community.Key.PublicKey)
		s.exec(`insert into person (name, {ap_id}, private_key, public_key, inbox_url, instance_id)
			select 'eve', $1::text, $2, '', $1::text || '/inbox', instance_id from person where id = $3`, nobody.APID, key, s.person.ID)
		s.fedi.Register(nobody.KeyID(), &s.community.Key.PublicKey)
		ids := query[[]string](s, `select array_agg(id::text order by id) from fedsender.dead_letter`)
		s.must("dead-letters", "retry", ids[0])
		s.arrived("a.example", broken)
		// No trigger tells of an actor that came; for ten seconds it is believed that there is none.
		for len(s.accepted("a.example")) < 2 && !t.Failed() {
			s.until("it is tried", `select not exists (select from fedsender.redelivery)`)
			if id := query[int64](s, `select coalesce(max(id), 0) from fedsender.dead_letter`); id != 0 {
				s.must("dead-letters", "retry", fmt.Sprint(id))
			}
		}
		s.arrived("a.example", broken, missing)
	})
}
