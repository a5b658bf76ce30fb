//go:build linux

package deadline

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

func TestSender_ThatStoodStillForEightSecondsSendsNothingUnderItsOldLeases(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	r := newRig(t, ctx, plain)
	_, old := r.session(ctx)
	ok(t, r.sender.Signal(syscall.SIGSTOP))
	wait(ctx, 8*time.Second)
	woken := time.Now()
	ok(t, r.sender.Signal(syscall.SIGCONT))
	since := r.nextSession(ctx, old)
	if n := r.arrivedBetween(woken, since); n > oldWords {
		t.Errorf("%d requests arrived in the %s between waking and the new session", n, since.Sub(woken))
	} else {
		t.Logf("%d requests arrived in the %s between waking and the new session", n, since.Sub(woken))
	}
}

// vanishSending has the host vanish while requests leave, so that some lie in the kernel. Where all that may be in flight was on
// its way by then, nothing follows, and it is tried again.
func (r *rig) vanishSending(ctx context.Context, toReceivers func(socket) bool) (vanished time.Time) {
	r.t.Helper()
	for {
		ok(r.t, r.host.Vanish())
		vanished = time.Now()
		soon, cancel := context.WithTimeout(ctx, time.Second)
		err := fleet.Until(soon, "requests lie in the kernel", func() (bool, error) { return unsent(r.t, r.sender.PID(), toReceivers) > aRequest, nil })
		cancel()
		if err == nil {
			return vanished
		}
		ok(r.t, ctx.Err())
		ok(r.t, r.host.Return())
		r.delivered(ctx, 20)
	}
}

func TestSender_WhoseHostVanishedForEightSecondsLeavesNothingInItsSockets(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	r := newRig(t, ctx, plain)
	_, old := r.session(ctx)
	toReceivers := remotePort(t, r.Fedi.Addr())
	vanished := r.vanishSending(ctx, toReceivers)
	wait(ctx, 8*time.Second)
	if n := unsent(t, r.sender.PID(), toReceivers); n > aRequest {
		t.Errorf("the kernel still holds a request of %d bytes", n)
	}
	returned := time.Now()
	ok(t, r.host.Return())
	since := r.nextSession(ctx, old)
	// The rule that cuts is in force a moment after the first and before the second time that was taken.
	if n := r.arrivedBetween(vanished.Add(time.Second), since); n > 0 {
		t.Errorf("%d requests arrived in the %s between the return and the new session", n, since.Sub(returned))
	}
}

func TestSender_WhoseDatabaseIsSilentSendsNothingAfterSixSeconds(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	r := newRig(t, ctx, plain)
	_, old := r.session(ctx)
	ok(t, r.host.DropFromDatabase())
	cut := time.Now()
	wait(ctx, 8*time.Second)
	ok(t, r.host.Heal())
	since := r.nextSession(ctx, old)
	if n := r.arrivedBetween(cut.Add(6*time.Second), since); n > 0 {
		t.Errorf("%d requests arrived later than 6 s after the last answer of the database", n)
	}
}

// clockSeen is far above the 50 ms at which the process looks at its clock's file.
const clockSeen = 300 * time.Millisecond

// clockBehind is what receivers take: a Date that is up to 30 s old.
const clockBehind = 20 * time.Second

func TestSender_WhoseWallClockJumpsAheadBeginsAnewAndBackwardsGoesOn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	file := filepath.Join(t.TempDir(), "clock")
	set := func(offset string) { ok(t, os.WriteFile(file, []byte(offset), 0o600)) }
	set("0s")
	r := newRig(t, ctx, moved, "SENDER_TEST_CLOCK_FILE="+file)
	_, old := r.session(ctx)
	before := r.Fedi.Ledger().Count("")
	set("-" + clockBehind.String())
	wait(ctx, clockSeen)
	r.heartbeat(ctx, old) // only with one is the term counted by the clock that went back
	r.delivered(ctx, 200)
	if _, now := r.session(ctx); now != old {
		t.Error("a clock that went back cost the leases")
	}
	jumped := time.Now()
	set("0s")
	since := r.nextSession(ctx, old)
	// Their Date tells what was signed after the process had seen the jump, however late the receivers came to note it.
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		if d.Arrived.After(jumped) && d.Arrived.Before(since) && d.Arrived.Sub(d.Dated) < clockBehind/2 {
			t.Errorf("a request that arrived %s after the jump was signed by the clock that had jumped, and the new session began after %s",
				d.Arrived.Sub(jumped), since.Sub(jumped))
		}
	}
	if n := r.Fedi.Ledger().Count("") - before; n < 300 {
		t.Errorf("%d requests arrived", n)
	}
	if !strings.Contains(r.sender.Log(), "no answer from the database in time") {
		t.Error("the log does not say why")
	}
}
