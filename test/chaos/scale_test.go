package chaos

import (
	"context"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// busy is a fleet whose largest receivers are sent a lot, so that a kill always finds deliveries in flight there.
var busy = spread{actors: 100, instances: 200, hot: 2, most: 5}

// busyPerSecond is how many activities are committed for that fleet, each for about five inboxes.
const busyPerSecond = 60

// slowly answers late what counts as delivered already.
func slowly() fediverse.Config {
	return fediverse.Config{Default: fediverse.Always(fediverse.Late(answerAfter))}
}

// stopInTime stops a sender, which must exit with 0 within SENDER_SHUTDOWN_TIMEOUT, and returns how long that took.
func (r *rig) stopInTime(ctx context.Context, s *fleet.Sender) time.Duration {
	r.t.Helper()
	const shutdownTimeout = 30 * time.Second // the default
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	began := time.Now()
	if err := s.Stop(ctx); err != nil {
		r.t.Error(err)
	}
	return time.Since(began)
}

// Scaling is tried with many instances: what hashing gives each process varies by the square root of its share.
func TestScaledUpAndDown(t *testing.T) {
	parallel(t)
	ctx := within(t)
	r := newRig(t, binary(t, ""), bells.database(t), slowly(), spread{actors: 100, instances: 2000, hot: 2, most: 5})
	r.startHolding(ctx, 1, 1)
	l := r.load(ctx, busyPerSecond, seed())
	defer l.stop(t)
	r.progress(ctx, backlog)
	for range pick(1, 5) {
		began := time.Now()
		r.start(ctx, 4)
		t.Logf("1 to 5: shares %v after %s", r.waitEven(ctx, 5), time.Since(began).Round(time.Millisecond))
		r.progress(ctx, backlog)
		began = time.Now()
		for _, s := range r.Senders()[:3] {
			r.stopInTime(ctx, s)
		}
		t.Logf("5 to 2: shares %v after %s", r.waitEven(ctx, 2), time.Since(began).Round(time.Millisecond))
		r.progress(ctx, backlog)
		r.stopInTime(ctx, r.Senders()[0])
	}
	l.stop(t)
	verdict := r.finish(ctx)
	if verdict.Twice > 0 {
		t.Errorf("%d duplicates though nothing was killed: %v", verdict.Twice, verdict.Examples)
	}
	r.checkOverlaps()
}

// waitEven waits until everything is held, by n processes of which none is a fifth away from its fair share, and returns
// the shares.
func (r *rig) waitEven(ctx context.Context, n int) []int {
	r.t.Helper()
	var shares []int
	fair := float64(len(r.world.Instances)) / float64(n)
	err := fleet.Until(ctx, "the shares are even", func() (bool, error) {
		held, err := r.holders(ctx)
		if err != nil {
			return false, err
		}
		shares = shares[:0]
		total, even := 0, true
		for _, count := range held {
			shares = append(shares, count)
			total += count
			even = even && float64(count) > 0.8*fair && float64(count) < 1.2*fair
		}
		return even && len(held) == n && total == len(r.world.Instances), nil
	})
	if err != nil {
		r.t.Fatalf("%v: %v", err, shares)
	}
	return shares
}
