package lemmy_test

import (
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/lemmy"
)

func TestReceiver_RefusesAnotherBody(t *testing.T) {
	s := newScene(t, lemmy.V10)
	a := s.stranger("a.example")
	strict := &lemmy.Receiver{}
	s.fedi.SetDefault(strict.Behaviour(fediverse.Always(fediverse.OK)))
	stop := s.own()
	s.until("it has begun", `select exists (select from federation_queue_state where instance_id = $1)`, a)
	right := lemmy.Activity{Name: "right", Actor: s.community, FollowersOf: s.community}
	body := lemmy.Activity{Name: "body", Actor: s.community, FollowersOf: s.community}
	for _, activity := range []lemmy.Activity{right, body} {
		expected := activity.Document()
		if activity.Name == "body" {
			expected = strings.Replace(expected, "1.50", "1.5", 1)
		}
		ok(t, strict.Expect(lemmy.ActivityRow{APID: lemmy.ActivityID(activity.Name), Data: expected}))
		_, err := s.Send(s.ctx, activity)
		ok(t, err)
	}
	s.until("both are settled", `select last_successful_id = (select max(id) from sent_activity) from federation_queue_state where instance_id = $1`, a)
	stop()
	s.arrived("a.example", lemmy.ActivityID("right"))
	if got := strict.Complaints(); len(got) != 1 || !strings.Contains(got[0], "the body at a.example") {
		t.Errorf("complaints %q, want one of the body", got)
	}
}
