//go:build linux

package deadline

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/fleet"
)

// The whole argument rests on this: the server gives up a session from which it hears nothing later than the process has
// stopped, which counts from the start of a round trip, and so from before the server heard it.
func TestServer_KeepsASilentSessionForLongerThanTheTerm(t *testing.T) {
	for name, cut := range map[string]func(r *rig) error{
		"nothing arrives on either side": func(r *rig) error { return r.host.Vanish() },
		"nothing arrives at the server":  func(r *rig) error { return r.host.DropToDatabase() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			r := newRig(t, ctx, plain)
			_, pid := r.session(ctx)
			ok(t, cut(r))
			var heard, gone time.Time
			ok(t, fleet.Until(ctx, "the session has ended", func() (bool, error) {
				err := r.DB.QueryRow(ctx, `
					select greatest(query_start, state_change)
					from pg_stat_activity
					where pid = $1 and application_name like 'fedsender:%'`, pid).Scan(&heard)
				if errors.Is(err, pgx.ErrNoRows) {
					gone = time.Now()
					return true, nil
				}
				return false, err
			}))
			took := gone.Sub(heard)
			t.Logf("ended %s after the server heard from it", took.Round(10*time.Millisecond))
			if took < lease.Term+3*time.Second || took > 13*time.Second {
				t.Errorf("ended %s after the server heard from it; the term is %s", took, lease.Term)
			}
			ok(t, r.host.Heal())
			r.nextSession(ctx, pid)
		})
	}
}
