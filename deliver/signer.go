package deliver

import (
	"context"

	"github.com/fedsender/fedsender/deliver/sign"
)

// Signer makes one signature, when its turn has come. It is safe for several goroutines. [sign.Stage] is one.
type Signer interface {
	// Sign asks the request's message for the string once at most, and not after it has returned. It fails with the cause
	// of ctx, the error of the message, or one that says why it can't sign.
	Sign(ctx context.Context, r sign.Request) ([]byte, error)
}

// turner is a Signer that gives turns for what else takes a processor's time, as [sign.Stage] does.
type turner interface {
	Take(ctx context.Context, flow any, begun bool) error
	Give()
}

// handshakeTurn is the turn of a handshake of TLS, which it does not keep while it waits for the other side. A thousand
// handshakes at one time would else be a thousand goroutines that want a processor, and everything else, a reply to one
// server too, would wait for one behind them at each of its steps.
type handshakeTurn struct {
	ctx    context.Context
	turner turner
	flow   any
	timers [2]*patience // of the handshake and of the request
	has    bool
}

func (t *handshakeTurn) take() (err error) {
	for _, timer := range t.timers {
		timer.pause()
		defer timer.resume()
	}
	if err = t.turner.Take(t.ctx, t.flow, true); err == nil {
		t.has = true
	}
	return err
}

func (t *handshakeTurn) give() {
	if t.has {
		t.has = false
		t.turner.Give()
	}
}
