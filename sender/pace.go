package sender

import (
	"context"
	"time"

	"github.com/fedsender/fedsender/pg"
)

const (
	// busyPoll is how often a busy process looks for activities; a hundredth of what a receiver needs to answer.
	busyPoll = 5 * time.Millisecond
	// crowdedPoll is for more than crowdedAt activities a second: then a look costs the writers, whose processors Postgres
	// runs on, and there is always a commit under way that leaves a gap.
	crowdedPoll = 40 * time.Millisecond
	crowdedAt   = 200
	// throngedPoll is for more than throngedAt: each look brings hundreds of rows then, and still costs as much as they do.
	throngedPoll = 100 * time.Millisecond
	throngedAt   = 2000
	// unwantedPoll is for as many, none of which was for an instance that is held here, for unwantedFor.
	unwantedPoll = 250 * time.Millisecond
	unwantedFor  = time.Second
	// gapPoll is for gaps, most of which are commits that end within milliseconds.
	gapPoll = 3 * time.Millisecond
	// slowestGapPoll is for gaps of transactions that stay open: each read brings all that waits behind the gap, in vain.
	slowestGapPoll = 250 * time.Millisecond
	// busyFor is how long a process keeps looking after the last activity before it goes to sleep.
	busyFor = 250 * time.Millisecond
	// idlePoll backs up the bell: what it missed is found that late.
	idlePoll = 10 * time.Second
	// bellessPoll stands in for the bell where no trigger rings it, or the server allows prepared transactions, which can't
	// notify.
	bellessPoll = 100 * time.Millisecond
	// settleFor bounds the wait for transactions that were open when the bell was armed; idlePoll covers the rest.
	settleFor = time.Second
	// disarmAt is how many activities a second make the bell cost writers more than it brings.
	disarmAt = 20
)

// pace decides when to read again, and arms and disarms the bell.
func (h *head) pace(ctx context.Context, batch *pg.Batch, rung bool) (time.Duration, error) {
	now := clock()
	if n := batch.Count; n > 0 {
		h.engine.metrics.ActivitiesRead(n)
		if h.slept && !rung {
			h.engine.metrics.MissedBell()
		}
		h.unsettle()
		if err := h.tally(ctx, n, now); err != nil {
			return 0, err
		}
	}
	switch {
	case batch.More:
		return 0, nil
	case h.rate(now) >= crowdedAt:
		return max(h.crowdedPoll(now), gapWait(h.feed.Stopped())), nil
	case batch.Waiting:
		return gapWait(h.feed.Stopped()), nil
	case now.Sub(h.active) < busyFor:
		return busyPoll, nil
	case !h.rings():
		return bellessPoll, nil
	case h.settled:
		h.slept = true
		return idlePoll, nil
	}
	return h.settle(ctx, now)
}

// rate is how many activities came in the last second that was counted, or in the current one so far.
func (h *head) rate(now time.Time) int {
	if now.Sub(h.second) > time.Second {
		return 0
	}
	return max(h.count, h.before)
}

// crowdedPoll is how often to look where so many activities come that reading each at once would cost their writers more
// than it brings.
func (h *head) crowdedPoll(now time.Time) time.Duration {
	switch {
	case h.rate(now) < throngedAt:
		return crowdedPoll
	case now.Sub(h.wanted) < unwantedFor:
		return throngedPoll
	}
	return unwantedPoll
}

// rings says whether writers ring the bell when it is armed.
func (h *head) rings() bool { return h.engine.source.Load().Rings && !h.feed.Prepares() }

// gapWait is a tenth of how long a gap has been there, so that it delays activities by little more than it must.
func gapWait(stopped time.Duration) time.Duration {
	return min(max(gapPoll, stopped/10), slowestGapPoll)
}

func (h *head) unsettle() {
	h.active, h.armed, h.settled, h.slept = clock(), false, false, false
	h.feed.Unsettle()
}

// settle goes to sleep in steps: arm the bell, wait for transactions that were open at that moment and so will not
// ring, read once more.
func (h *head) settle(ctx context.Context, now time.Time) (time.Duration, error) {
	if !h.armed {
		if err := pg.Arm(ctx, h.engine.pool); err != nil {
			return 0, err
		}
		h.armed, h.until = true, now.Add(settleFor)
	}
	done, err := h.feed.Settle(ctx)
	if err != nil {
		return 0, err
	}
	if done || now.After(h.until) {
		h.feed.Unsettle()
		h.settled = true
		return 0, nil
	}
	return busyPoll, nil
}

// tally counts and disarms the bell when it would ring too often.
func (h *head) tally(ctx context.Context, n int, now time.Time) error {
	if passed := now.Sub(h.second); passed > time.Second {
		if h.before = h.count; passed > 2*time.Second {
			h.before = 0
		}
		h.second, h.count = now, 0
	}
	h.count += n
	if h.count < disarmAt || now.Sub(h.disarms) < time.Second || !h.rings() {
		return nil
	}
	h.disarms = now
	return pg.Disarm(ctx, h.engine.pool)
}
