package sender

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/bubble"
)

func TestSpread_FiftyProcessesComeBackOverASecondAndOneAtOnce(t *testing.T) {
	const processes = 50
	var tenths [10]int
	for range 1000 {
		at := spread(processes)
		require.LessOrEqual(t, at, processes*spreadEach)
		tenths[min(int(at/(100*time.Millisecond)), 9)]++
	}
	for i, n := range tenths {
		require.InDelta(t, 100, n, 70, "of a thousand in tenth %d of the second", i)
	}
	require.LessOrEqual(t, spread(1), spreadEach)
	require.LessOrEqual(t, spread(1000), longestSpread)
	require.LessOrEqual(t, spread(0), time.Nanosecond)
}

func TestNextRetry_GrowsToItsBound(t *testing.T) {
	var waits []time.Duration
	for wait := time.Duration(0); wait < slowestRetry; {
		wait = nextRetry(wait)
		waits = append(waits, wait)
	}
	require.Equal(t, []time.Duration{250 * time.Millisecond, 750 * time.Millisecond, 1750 * time.Millisecond, slowestRetry}, waits)
}

func TestSignal_EndsARestAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var s signal
		began := time.Now()
		done := make(chan struct{})
		next := s.next()
		go func() {
			rest(t.Context(), time.Hour, next)
			close(done)
		}()
		s.raise()
		<-done
		require.Zero(t, time.Since(began))
		select {
		case <-s.next():
			t.Error("the signal after the next was raised too")
		default:
		}
	})
}

func TestMemory_KeepsTheLast(t *testing.T) {
	var m memory
	for id := range int64(remembered + 10) {
		m.add([]pg.Activity{{ID: id}})
	}
	require.Len(t, m.seen, remembered)
	kept := map[int64]bool{}
	for _, s := range m.seen {
		kept[s.ID] = true
	}
	require.Len(t, kept, remembered)
	require.True(t, kept[10] && kept[remembered+9])
}

func TestNoteCursor_OneBelowWhatWasSavedIsASetbackUnlessAnOperatorMovedIt(t *testing.T) {
	d := newDispatcher(Config{}, nil, nil)
	saw := func(cursor int64, trusted bool) []setback {
		d.mu.Lock()
		d.noteCursor(&slot{id: 7, savedCursor: cursor}, trusted)
		d.mu.Unlock()
		return d.takeSetbacks()
	}
	require.Empty(t, saw(10, false), "nothing was known before")
	require.Empty(t, saw(12, false), "another process went on")
	require.Equal(t, []setback{{7, 12, 5}}, saw(5, false))
	require.Empty(t, saw(5, false), "it was told once")
	require.Empty(t, saw(3, true), "read anew because it was moved")
	d.forgetCursors([]int32{7})
	require.Empty(t, saw(1, false), "the log of changes told that it was moved")
}
