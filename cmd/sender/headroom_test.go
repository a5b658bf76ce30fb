package main

import (
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentFor_LeavesHeadroomWhileLittleIsInUse(t *testing.T) {
	t.Parallel()
	for bytes, percent := range map[uint64]int{0: 800, 1 << 20: 800, 4 << 20: 800, 8 << 20: 400, 9 << 20: 350, 30 << 20: 100, 32 << 20: 100, 1 << 40: 100} {
		require.Equal(t, percent, percentFor(bytes), "%d bytes", bytes)
	}
}

func TestCollections_FollowWhatIsInUse(t *testing.T) {
	t.Parallel()
	require.Less(t, inUse(), uint64(1<<40))
	new(collections).next()
	percentBecomes := func(right func(percent uint64) bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			runtime.GC()
			sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
			metrics.Read(sample)
			return right(sample[0].Value.Uint64())
		}, 30*time.Second, 5*time.Millisecond)
	}
	percentBecomes(func(percent uint64) bool { return percent > usualPercent })
	much := make([]byte, 2*headroom)
	percentBecomes(func(percent uint64) bool { return percent == usualPercent })
	runtime.KeepAlive(much)
	percentBecomes(func(percent uint64) bool { return percent > usualPercent })
}

func TestRun_LeavesGOGCToWhoSetsIt(t *testing.T) {
	t.Parallel()
	_, environment := migrated(t)
	for _, c := range []struct {
		set   []string
		shows func(metrics string) bool
	}{
		{[]string{"GOGC=70"}, func(metrics string) bool { return strings.Contains(metrics, "\ngo_gc_gogc_percent 70\n") }},
		{[]string{"GOGC="}, func(metrics string) bool { return !strings.Contains(metrics, "\ngo_gc_gogc_percent 100\n") }},
	} {
		address := freeAddress(t)
		cmd := command(t, append(c.set, append(environment, "SENDER_ADMIN_ADDR="+address)...), "run")
		require.NoError(t, cmd.Start())
		awaitStatus(t, address, "/readyz", "", http.StatusOK)
		text := get(t, address, "/metrics", "", "")
		require.Contains(t, text, "\ngo_gc_gogc_percent ")
		require.True(t, c.shows(text), c.set)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait())
	}
}
