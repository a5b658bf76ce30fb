package sender

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/fedsender/fedsender/pg"
)

// errWentBack ends a lease session. Under the next one the activities are read again from where the database stands.
var errWentBack = errors.New("activities that were read are gone, and the ids go on below them: the application's tables came back from an older backup")

// lookBack looks whether the application's tables came back from an older backup: it tells of cursors that are beyond the
// newest activity, and begins anew where this process has read further than that. It does not run beside itself.
func (e *engine) lookBack(ctx context.Context) {
	var head int64
	if e.dispatcher != nil {
		head = e.dispatcher.count().head // before what it is compared with: activities may come meanwhile
	}
	b, err := pg.ReadBeyond(ctx, e.pool)
	if err != nil {
		e.log.Debug("could not look for cursors beyond the newest activity", "error", pg.Sentence(err))
		return
	}
	if said := e.saidBeyond; b.Count > 0 && (b.Count != said.Count || b.Newest != said.Newest) {
		level := slog.LevelWarn
		if b.Drawn {
			level = slog.LevelError
		}
		e.log.Log(ctx, level, b.String()+". For each: "+pg.BeyondRemedy, "instances", strings.Join(b.Domains, ", "), "count", b.Count)
	}
	e.saidBeyond = b
	session := e.session.Load()
	if b.Newest == 0 || head <= b.Newest || session == nil {
		return
	}
	if err := pg.LowerHorizon(ctx, e.pool); err != nil {
		e.troubled(ctx, "could not go back to the newest activity; trying again", err)
		return
	}
	session.Abandon(errWentBack)
}
