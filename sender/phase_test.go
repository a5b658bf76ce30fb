package sender

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/bubble"
)

func TestNotices_AProcessWhoseLoopsStandStillIsNotAlive(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var heard [Alive + 1]atomic.Int64
		e := &engine{config: Config{Notify: func(phase Phase, _ string) { heard[phase].Add(1) }}}
		loops, end := context.WithCancel(t.Context())
		all, endAll := context.WithCancel(t.Context())
		go e.runNotices(loops, all)
		after := func(d time.Duration) int64 {
			before := heard[Alive].Load()
			time.Sleep(d)
			synctest.Wait()
			return heard[Alive].Load() - before
		}

		e.pulse.beat()
		require.Positive(t, after(pulseWithin-2*pulseEvery))
		after(4 * pulseEvery)
		require.Zero(t, after(time.Hour), "the loop of the saves has not turned")
		e.pulse.beat()
		require.Positive(t, after(2*pulseEvery))
		require.Zero(t, heard[Ready].Load(), "it has no leases")

		end()
		require.Positive(t, after(time.Minute), "it drains")
		require.EqualValues(t, 1, heard[Stopping].Load())
		endAll()
		synctest.Wait()
	})
}
