package sender

import (
	"context"
	"fmt"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// driftPause is left between loads while the application's tables are not those that the schema was made for. It is about
// how long everything stands still after sender migrate.
const driftPause = 5 * time.Second

// drifted tells that something failed because the application changed its tables under this process, since everything was
// loaded the last time. Triggers may have failed meanwhile to tell what changed, so nothing is read before the next load.
func (e *engine) drifted() bool { return e.drifts.Load() != e.mended.Load() }

// mendDrift loads everything anew where that must be. A wait says that it is too early, and that nothing should be read
// before.
func (h *head) mendDrift(ctx context.Context) (wait time.Duration, err error) {
	e := h.engine
	if !e.drifted() {
		return 0, nil
	}
	if passed := time.Since(h.mendedAt); passed < driftPause {
		return driftPause - passed, nil
	}
	seen := e.drifts.Load()
	defer func() { h.mendedAt = time.Now() }()
	if err := e.loadAndRecheck(ctx, h.feed); err != nil {
		return 0, err
	}
	e.mended.Store(seen)
	if !e.drifted() {
		e.log.Info("the tables of the application can be read again")
	}
	return 0, nil
}

// checkVariant is the error of a source that was made for tables of another form.
func checkVariant(source *pg.Source) error {
	if source.Variant == source.VariantNow {
		return nil
	}
	return fmt.Errorf("%w (made for %s, found %s)", pg.ErrTablesChanged, source.Variant, source.VariantNow)
}
