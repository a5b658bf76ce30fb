package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Algorithm is how a key signs.
type Algorithm int

const (
	// RSA is RSASSA-PKCS1-v1_5 with SHA-256: RFC 8017, 8.2.
	RSA Algorithm = iota + 1
	// Ed25519 is the pure form: RFC 8032, 5.1.
	Ed25519
)

// fingerprint tells keys apart: the SHA-256 of the public half.
type fingerprint [sha256.Size]byte

// Key is a private key. It is immutable, safe for several goroutines, and shows nothing of itself when it is printed.
type Key struct {
	private   crypto.Signer // *rsa.PrivateKey or ed25519.PrivateKey
	algorithm Algorithm
	print     fingerprint
}

var errKind = errors.New("only RSA and Ed25519 keys can sign")

// NewKey takes an *rsa.PrivateKey or an ed25519.PrivateKey that its package has found valid, and keeps it.
func NewKey(private any) (*Key, error) {
	k := &Key{}
	switch private := private.(type) {
	case *rsa.PrivateKey:
		k.private, k.algorithm = private, RSA
	case ed25519.PrivateKey:
		k.private, k.algorithm = private, Ed25519
	default:
		return nil, errKind
	}
	public, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return nil, errKind // not the cause, which may quote what it got
	}
	k.print = sha256.Sum256(public)
	return k, nil
}

// Algorithm says how it signs.
func (k *Key) Algorithm() Algorithm { return k.algorithm }

// size is the length of its signatures in bytes.
func (k *Key) size() int {
	if private, ok := k.private.(*rsa.PrivateKey); ok {
		return private.Size()
	}
	return ed25519.SignatureSize
}

// verify says whether the signature is of this key and for this message.
func (k *Key) verify(message, signature []byte) bool {
	switch private := k.private.(type) {
	case *rsa.PrivateKey:
		sum := sha256.Sum256(message)
		return rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA256, sum[:], signature) == nil
	case ed25519.PrivateKey:
		return ed25519.Verify(private.Public().(ed25519.PublicKey), message, signature)
	}
	return false
}

// String is its kind, "RSA key of 2048 bits", and nothing else of it.
func (k *Key) String() string {
	if private, ok := k.private.(*rsa.PrivateKey); ok {
		return fmt.Sprintf("RSA key of %d bits", private.N.BitLen())
	}
	return "Ed25519 key"
}

// Format is String whatever the verb, so that %#v shows no secret either.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
