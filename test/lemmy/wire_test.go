package lemmy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

// That a body is what was stored behind its context, and signed with its actor's key, is looked at in every test.

func TestLemmy_Body_ContextFirstAndTheRestAsItIsStored(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		var ids []string
		for _, form := range []string{
			`{"id":"%s","actor":"%s"}`,
			`{"zebra":1.0,"actor":"%[2]s","apple":1e2,"id":"%[1]s","deep":{"b":null,"a":"\u00fc\/ü"}}`,
			`{"id":"%s" , "actor" : "%s",  "content":"a\nb \"@context\" c"}`,
			`{"id":"%s","actor":"%s","big":12345678901234567890.000000001,"same":1,"same":2}`,
		} {
			id := lemmy.ActivityID(fmt.Sprint(s.sent + 1))
			ids = append(ids, s.send(document(fmt.Sprintf(form, id, s.community.APID))))
		}
		s.arrived("a.example", ids...)
		s.settled(a)
	})
}

func TestLemmy_Body_OneThatHasAContextKeepsIt(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.lax = true // its receiver expects another body; it is not told of this one
		s.remote("a.example")
		own := &lemmy.Receiver{}
		id := lemmy.ActivityID("own")
		text := fmt.Sprintf(`{"@context":"https://www.w3.org/ns/activitystreams","id":"%s","actor":"%s"}`, id, s.community.APID)
		bodies := make(chan string, 10)
		s.fedi.SetDefault(own.Behaviour(keep(bodies)))
		s.start(1)
		_, err := s.Send(s.ctx, lemmy.Activity{Name: "own", Actor: s.community, FollowersOf: s.community, Data: text})
		ok(t, err)
		s.arrived("a.example", id)
		if got := <-bodies; got != text {
			t.Errorf("%s arrived, want %s", got, text)
		}
	})
}

func TestLemmy_Body_WhatIsNoObjectIsADeadLetter(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		for _, text := range []string{`[]`, `"text"`, `null`} {
			s.send(document(text))
		}
		next := s.send()
		s.arrived("a.example", next)
		s.settled(a)
		if got := s.letters(); len(got) != 3 {
			t.Errorf("dead letters %q, want one for each", got)
		}
	})
}

func TestLemmy_Key_BothFormsOfAllKindsOfActors(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		old, err := s.Community(s.ctx, "old", lemmy.PKCS1)
		ok(t, err)
		s.Introduce(s.fedi)
		s.start(1)
		ids := []string{s.send(), s.send(by(s.person)), s.send(by(s.Site)), s.send(by(old))}
		s.arrived("a.example", ids...)
		s.settled(a)
	})
}

func TestLemmy_Key_TheActorIsFoundWhateverTheCaseOfItsID(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		s.start(1)
		var ids []string
		for _, actor := range []lemmy.Actor{s.community, s.person, s.Site} {
			id := lemmy.ActivityID(actor.Kind)
			text := fmt.Sprintf(`{"id":"%s","actor":"%s"}`, id, actor.APID)
			actor.APID = strings.ToUpper(actor.APID)
			s.insert(lemmy.Activity{Name: actor.Kind, Actor: actor, FollowersOf: s.community, Data: text})
			ids = append(ids, id)
		}
		s.arrived("a.example", ids...)
	})
}

func TestLemmy_Wire_OneThatADeletedActorSentIsSignedAllTheSame(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		s.exec(`update person set deleted = true where id = $1`, s.person.ID)
		s.start(1)
		s.arrived("a.example", s.send(by(s.person)))
	})
}

func TestLemmy_Wire_OverHTTPSAloneAndToNoPort(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		a := s.remote("a.example")
		s.start(1)
		for _, inbox := range []string{"http://a.example/inbox", "https://a.example:8443/inbox"} {
			s.send(to(inbox))
		}
		next := s.send()
		s.arrived("a.example", next)
		s.settled(a)
		if got := s.letters(); len(got) != 2 {
			t.Errorf("dead letters %q, want one for each inbox", got)
		}
	})
}

func TestLemmy_Wire_NoRedirectIsFollowed(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		codes := []int{301, 302, 303, 307, 308}
		for _, code := range codes {
			domain := fmt.Sprintf("r%d.example", code)
			s.remote(domain)
			s.fedi.Instance(domain).SetAnswer(fediverse.Redirect(code, "https://elsewhere.example/inbox"))
		}
		s.start(1)
		s.send()
		s.until("all have failed", `select count(*) = $1 from federation_queue_state where fail_count > 0 and last_successful_id = 0`, len(codes))
		if n := s.fedi.Ledger().Count("elsewhere.example"); n != 0 {
			t.Errorf("%d deliveries to where redirects point", n)
		}
	})
}

// Lemmy waits for 125 s, other servers for 30.
func TestLemmy_Wire_AnAnswerMayTakeLongerThanElsewhere(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.remote("a.example")
		s.fedi.Instance("a.example").SetAnswer(fediverse.Slow(33*time.Second, fediverse.OK))
		s.start(1)
		s.arrived("a.example", s.send())
		if n := s.fedi.Ledger().Count("a.example"); n != 1 {
			t.Errorf("it took %d tries", n)
		}
		if got := query[string](s, `select request_timeout::text from fedsender.source`); got != "00:02:05" {
			t.Errorf("the time-out is %s", got)
		}
	})
}
