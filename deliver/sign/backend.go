package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
)

// Backend makes signatures. It is safe for several goroutines and blocks until they are made.
type Backend interface {
	// Lanes is how many strings of one key it likes to be given at a time; it takes any number.
	Lanes() int
	// Sign returns a signature for each message, in the same order. It keeps neither them nor the slice. An error is of
	// all of them and holds no part of the key.
	Sign(key *Key, messages [][]byte) ([][]byte, error)
}

// Go signs with crypto/rsa and crypto/ed25519, one after the other.
type Go struct{}

// Lanes implements [Backend].
func (Go) Lanes() int { return 1 }

// Sign implements [Backend].
func (Go) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	signatures := make([][]byte, len(messages))
	for i, message := range messages {
		switch private := key.private.(type) {
		case *rsa.PrivateKey:
			sum := sha256.Sum256(message)
			signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
			if err != nil {
				return nil, fmt.Errorf("sign with an %s: %w", key, err)
			}
			signatures[i] = signature
		case ed25519.PrivateKey:
			signatures[i] = ed25519.Sign(private, message)
		}
	}
	return signatures, nil
}

// constant signs nothing with RSA: see [ConstantRSA].
type constant struct{ Backend }

func (c constant) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	if key.algorithm != RSA {
		return c.Backend.Sign(key, messages)
	}
	signatures := make([][]byte, len(messages))
	for i := range signatures {
		signatures[i] = make([]byte, key.size())
	}
	return signatures, nil
}

// counted counts what a backend makes.
type counted struct {
	Backend
	made *atomic.Uint64
}

func (c counted) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	signatures, err := c.Backend.Sign(key, messages)
	if err == nil {
		c.made.Add(uint64(len(messages)))
	}
	return signatures, err
}
