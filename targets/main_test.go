package targets_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/targets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is what Targets says, with inboxes written as their URL and a "+" if they are shared.
type answer struct {
	inboxes map[int32][]string
	unknown []targets.Unknown
	bad     []targets.Bad
}

func ask(t interface {
	Helper()
	Fatalf(string, ...any)
}, x *targets.Index, q targets.Query) answer {
	t.Helper()
	a := answer{inboxes: make(map[int32][]string)}
	a.unknown, a.bad = x.Targets(q, nil, func(id int32, inboxes []targets.Inbox) {
		if _, twice := a.inboxes[id]; twice {
			t.Fatalf("instance %d was named twice", id)
		}
		if len(inboxes) == 0 {
			t.Fatalf("instance %d was named without an inbox", id)
		}
		a.inboxes[id] = words(inboxes)
	})
	return a
}

func words(inboxes []targets.Inbox) []string {
	w := make([]string, len(inboxes))
	for i, inbox := range inboxes {
		w[i] = word(inbox)
	}
	return w
}

func word(inbox targets.Inbox) string {
	if inbox.Shared {
		return inbox.URL + "+"
	}
	return inbox.URL
}

// wantInboxes compares what Targets says with lines such as "1: https://a.example/inbox+".
func wantInboxes(t *testing.T, a answer, want ...string) {
	t.Helper()
	var got []string
	for _, id := range slices.Sorted(maps.Keys(a.inboxes)) {
		for _, inbox := range a.inboxes[id] {
			got = append(got, fmt.Sprint(id, ": ", inbox))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %q\nwant\n  %q", got, want)
	}
}

func one(url string) []targets.Inbox       { return []targets.Inbox{{URL: url}} }
func oneShared(url string) []targets.Inbox { return []targets.Inbox{{URL: url, Shared: true}} }

func followersOf(ids ...int64) targets.Query { return targets.Query{ActivityID: 100, FollowersOf: ids} }

// three is an index of three instances, the last one without a shared inbox.
func three() *targets.Index {
	x := targets.New()
	x.SetInstance(targets.Instance{ID: 1, Domain: "a.example", SharedInbox: "https://a.example/inbox"})
	x.SetInstance(targets.Instance{ID: 2, Domain: "b.example", SharedInbox: "https://b.example/inbox"})
	x.SetInstance(targets.Instance{ID: 3, Domain: "c.example"})
	return x
}

func sharedInbox(id int32) string {
	return fmt.Sprintf("https://instance-%05d.social.example/inbox", id)
}

// personalInbox has about 50 bytes.
func personalInbox(id int32, i int) string {
	return fmt.Sprintf("https://instance-%05d.example/users/u%07d/inbox", id, i)
}
