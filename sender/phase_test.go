package sender

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNotices_AProcessWhoseLoopsStandStillIsNotAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := map[Phase]int{}
		e := &engine{config: Config{Notify: func(phase Phase, _ string) { heard[phase]++ }}}
		loops, end := context.WithCancel(t.Context())
		all, endAll := context.WithCancel(t.Context())
		go e.runNotices(loops, all)
		after := func(d time.Duration) int {
			synctest.Wait()
			before := heard[Alive]
			time.Sleep(d)
			synctest.Wait()
			return heard[Alive] - before
		}

		e.pulse.beat()
		require.Positive(t, after(pulseWithin-2*pulseEvery))
		after(4 * pulseEvery)
		require.Zero(t, after(time.Hour), "the loop of the saves has not turned")
		e.pulse.beat()
		require.Positive(t, after(2*pulseEvery))
		require.Zero(t, heard[Ready], "it has no leases")

		end()
		require.Positive(t, after(time.Minute), "it drains")
		require.Equal(t, 1, heard[Stopping])
		endAll()
		synctest.Wait()
	})
}
