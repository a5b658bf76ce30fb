package chaos

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// movedTo takes over the inbox of the instance that redirects.
const movedTo = "moved.example"

// misbehaviour is what one instance does until it recovers.
type misbehaviour struct {
	name   string
	answer fediverse.Answer
	link   fediverse.Link
	// gone: that it is back is known from the application, which hears from it.
	gone bool
	// accepts: it takes everything, in its own time.
	accepts bool
}

var misbehaviours = []misbehaviour{
	{name: "hanging", answer: fediverse.Hang},
	{name: "slow", answer: fediverse.Slow(700*time.Millisecond, fediverse.OK), accepts: true},
	{name: "failing", answer: fediverse.Status(http.StatusInternalServerError)},
	{name: "throttling", answer: fediverse.RetryAfter(http.StatusTooManyRequests, time.Second)},
	{name: "overloaded", answer: fediverse.RetryAfterDate(http.StatusServiceUnavailable, 2*time.Second)},
	{name: "resetting", answer: fediverse.Reset},
	{name: "talking rubbish", answer: fediverse.Rubbish},
	{name: "misdirecting", answer: fediverse.Redirect(http.StatusMovedPermanently, "https://"+movedTo+"/inbox")},
	{name: "gone", answer: fediverse.Gone, gone: true},
	{name: "down", link: fediverse.Down},
	{name: "silent in the handshake", link: fediverse.HangingTLS},
	{name: "showing an expired certificate", link: fediverse.ExpiredTLS},
}

func TestSomeReceiversAreBad(t *testing.T) {
	parallel(t)
	ctx := within(t)
	instances := pick(40, 60)
	r := newRig(t, binary(t, ""), bells.database(t), fediverse.Config{}, spread{actors: 3, instances: instances, hot: instances, most: 1})
	r.Env = []string{"SENDER_REQUEST_TIMEOUT=4s"}
	bad, good := r.world.Instances[:len(misbehaviours)], r.world.Instances[len(misbehaviours)+1:]
	redirecting := r.world.Instances[len(misbehaviours)]
	var trouble atomic.Bool
	trouble.Store(true)
	for n, m := range misbehaviours {
		i := r.Fedi.Instance(bad[n])
		i.SetLink(m.link)
		if m.answer != nil {
			i.SetBehaviour(fediverse.While(trouble.Load, m.answer, fediverse.Always(fediverse.OK)))
		}
	}
	r.Fedi.Instance(redirecting).SetAnswer(fediverse.Redirect(http.StatusPermanentRedirect, "https://"+movedTo+"/inbox"))
	r.startHolding(ctx, 3, 3)

	committed := r.announce(ctx, pick(50, 600))
	r.waitDelivered(ctx, slices.Concat(good, []string{movedTo}), len(committed))
	t.Logf("commit to arrival at %d good instances while %d are bad: %s", len(good), len(bad), percentiles(r.lags(good, committed)))
	for n, m := range misbehaviours {
		if got := r.Fedi.Ledger().Accepted(bad[n]); got > 0 && !m.accepts {
			t.Errorf("the instance that is %s has %d already: it was never bad", m.name, got)
		}
	}
	r.waitDead(ctx)

	recovered := time.Now()
	trouble.Store(false)
	for n, m := range misbehaviours {
		r.Fedi.Instance(bad[n]).SetLink(fediverse.Up)
		if m.gone {
			if _, err := r.DB.Exec(ctx, `update fedsender.instance set last_seen_at = now() where domain = $1`, bad[n]); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.waitDelivered(ctx, bad, len(committed))
	t.Logf("all of the bad ones have theirs %s after they recovered", time.Since(recovered).Round(time.Millisecond))
	r.moved = map[string]string{redirecting: movedTo}
	verdict := r.finish(ctx)
	if verdict.Twice > 0 {
		t.Errorf("%d duplicates though nobody accepted without saying so: %v", verdict.Twice, verdict.Examples)
	}
	r.checkOverlaps()
}

// announce commits so many activities for all followers, ten a second, and returns when each was committed.
func (r *rig) announce(ctx context.Context, n int) map[string]time.Time {
	r.t.Helper()
	w := newWriter(0, r, 1, nil)
	committed := map[string]time.Time{}
	for len(committed) < n {
		w.begin()
		w.chain.inboxes, w.chain.followersOf = []string{}, r.world.Actors[w.chain.actor:w.chain.actor+1]
		for ; w.chain.next < len(life) && len(committed) < n; w.chain.next++ {
			one := w.rows(1)
			if err := insert(ctx, r.writing, one); err != nil {
				r.t.Fatal(err)
			}
			committed[one[0].id] = time.Now()
			wait(ctx, 100*time.Millisecond)
		}
	}
	return committed
}

func (r *rig) waitDelivered(ctx context.Context, domains []string, each int) {
	r.t.Helper()
	ledger := r.Fedi.Ledger()
	missing := ""
	err := ledger.WaitFor(ctx, func() bool {
		missing = ""
		for _, domain := range domains {
			if got := ledger.Accepted(domain); got < each {
				missing += fmt.Sprintf(" %s has %d of %d;", domain, got, each)
			}
		}
		return missing == ""
	})
	if err != nil {
		r.t.Fatalf("%v:%s", err, missing)
	}
}

// lags are the times from commit to first arrival.
func (r *rig) lags(domains []string, committed map[string]time.Time) []time.Duration {
	var lags []time.Duration
	for _, domain := range domains {
		for _, d := range r.Fedi.Ledger().FirstArrivals(domain) {
			lags = append(lags, d.Arrived.Sub(committed[d.Activity]))
		}
	}
	return lags
}

// waitDead waits until the instance that says that it is gone is believed.
func (r *rig) waitDead(ctx context.Context) {
	r.t.Helper()
	err := fleet.Until(ctx, "the instance that is gone is dead", func() (bool, error) {
		var dead int
		err := r.DB.QueryRow(ctx, `select count(*) from fedsender.instance_health where gone`).Scan(&dead)
		return dead == 1, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}
