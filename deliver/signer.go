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
