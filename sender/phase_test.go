package sender

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

func TestNotices_AReloadEndsWithWhatIsSoThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var heard []string
		e := &engine{reloads: make(chan bool), config: Config{Notify: func(phase Phase, text string) {
			mu.Lock()
			defer mu.Unlock()
			if phase != Alive || text != "" {
				heard = append(heard, fmt.Sprintf("%d %s", phase, text))
			}
		}}}
		next := func() (said []string) {
			time.Sleep(2 * pulseEvery)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			said, heard = heard, nil
			return said
		}
		reload := func() {
			e.tellReload(t.Context(), true)
			e.tellReload(t.Context(), false)
		}
		var trouble atomic.Pointer[error]
		set := func(err error) { trouble.Store(&err) }
		set(errors.New("joining"))
		loops, end := context.WithCancel(t.Context())
		all, endAll := context.WithCancel(t.Context())
		go (&notices{engine: e, ready: func() error { return *trouble.Load() }}).run(loops, all)

		reload()
		require.Equal(t, []string{"4 not delivering: joining"}, next(), "nobody takes the end of a reload for the first Ready")
		set(nil)
		require.Equal(t, []string{"1 delivering"}, next())
		reload()
		require.Equal(t, []string{"2 reading the secrets again", "1 delivering"}, next())
		set(errors.New("no database"))
		require.Equal(t, []string{"4 not delivering: no database"}, next())
		reload()
		require.Equal(t, []string{"2 reading the secrets again", "1 not delivering: no database"}, next())
		set(nil)
		require.Equal(t, []string{"4 delivering"}, next())
		e.tellReload(t.Context(), true)
		require.Equal(t, []string{"2 reading the secrets again", "4 delivering"}, next(), "it delivers meanwhile")
		end()
		e.tellReload(t.Context(), false)
		require.Equal(t, []string{"3 letting deliveries in flight end"}, next())
		endAll()
		synctest.Wait()
	})
}
