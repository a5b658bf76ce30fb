package deliver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience_PausesAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := errors.New("over")
		ctx, p := withPatience(t.Context(), 10*time.Second, over)
		defer p.end()
		for range 3 {
			time.Sleep(3 * time.Second)
			p.pause()
			time.Sleep(time.Hour)
			p.resume()
		}
		time.Sleep(999 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("a pause was counted")
		}
		time.Sleep(2 * time.Millisecond)
		if context.Cause(ctx) != over {
			t.Fatalf("ended by %v", context.Cause(ctx))
		}
		p.pause()
		p.resume() // does nothing any more
		var none *patience
		none.pause()
		none.resume()
	})
}
