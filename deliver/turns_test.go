package deliver_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
)

// jammed is a signer whose turns come when a delivery would long be over. It keeps the first of each kind back.
type jammed struct {
	*sign.Stage
	takes, signs int
	held         time.Duration
}

func (j *jammed) Take(ctx context.Context, flow any, begun bool) error {
	if j.takes++; j.takes == 1 {
		if err := j.hold(ctx); err != nil {
			return err
		}
	}
	return j.Stage.Take(ctx, flow, begun)
}

func (j *jammed) Sign(ctx context.Context, r sign.Request) ([]byte, error) {
	if j.signs++; j.signs == 1 {
		if err := j.hold(ctx); err != nil {
			return nil, err
		}
	}
	return j.Stage.Sign(ctx, r)
}

func (j *jammed) hold(ctx context.Context) error {
	select {
	case <-time.After(j.held):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestPost_WaitForAProcessorHereIsNotHeldAgainstTheOtherSide(t *testing.T) {
	t.Parallel()
	const limit = 1500 * time.Millisecond
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	signer := &jammed{Stage: sign.NewStage(sign.Go{}, 1, nil), held: limit + 100*time.Millisecond}
	config.Signer, config.TLSTimeout, config.RequestTimeout = signer, limit, limit
	wantClass(t, post(t, config, server.URL+"/inbox"), deliver.Delivered)
	if signer.takes == 0 || signer.signs == 0 {
		t.Fatalf("%d turns for the handshake, %d for the signature", signer.takes, signer.signs)
	}
}
