package deliver

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"runtime"
	"time"

	"github.com/sourcegraph/conc/pool"
)

// Signer makes RSA PKCS#1 v1.5 signatures with SHA-256 (RFC 8017, 8.2).
type Signer interface {
	// Sign signs each message of the batch with the same key and returns the signatures in the same order. It blocks
	// until all are made, or fails with the cause of ctx. It is safe for several goroutines.
	Sign(ctx context.Context, key *Key, batch [][]byte) ([][]byte, error)
}

// GoSigner signs with crypto/rsa. Signatures are pure CPU: more at once than processors would only make all of them
// late, and the network goroutines with them, so the others wait for their turn.
type GoSigner struct {
	// Signed, unless nil, is told how long each signature took, the wait for its turn not counted. It must not block.
	Signed func(took time.Duration)

	turns chan struct{}
}

// NewGoSigner makes a signer that makes at most so many signatures at once; below one it is GOMAXPROCS.
func NewGoSigner(concurrency int) *GoSigner {
	if concurrency < 1 {
		concurrency = runtime.GOMAXPROCS(0)
	}
	return &GoSigner{turns: make(chan struct{}, concurrency)}
}

// Sign implements [Signer].
func (s *GoSigner) Sign(ctx context.Context, key *Key, batch [][]byte) ([][]byte, error) {
	signatures := make([][]byte, len(batch))
	if len(batch) == 1 {
		var err error
		signatures[0], err = s.sign(ctx, key, batch[0])
		return signatures, err
	}
	workers := pool.New().WithErrors().WithFirstError().WithMaxGoroutines(cap(s.turns))
	for i, message := range batch {
		workers.Go(func() (err error) {
			signatures[i], err = s.sign(ctx, key, message)
			return err
		})
	}
	return signatures, workers.Wait()
}

func (s *GoSigner) sign(ctx context.Context, key *Key, message []byte) ([]byte, error) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	sum := sha256.Sum256(message)
	if s.Signed != nil {
		defer func(began time.Time) { s.Signed(time.Since(began)) }(time.Now())
	}
	signature, err := rsa.SignPKCS1v15(nil, key.rsa, crypto.SHA256, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign with the key %s: %w", key.ID, err)
	}
	return signature, nil
}
