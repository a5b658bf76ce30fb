package deliver

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/fedsender/fedsender/deliver/sign"
)

const (
	// minRSABits is what crypto/rsa still signs with; shorter keys are no protection.
	minRSABits = 1024
	// maxRSABits keeps one signature below about 50 ms: a longer key would hold up everybody else's.
	maxRSABits = 8192
	// maxPEMBytes is far above a key of maxRSABits and keeps a column of rubbish from being parsed.
	maxPEMBytes = 32 << 10
	// maxURLBytes bounds key ids and inboxes; servers commonly refuse a request line above 8 KiB.
	maxURLBytes = 4096
)

// Key is an actor's private key with the id under which receivers find the public one. It is immutable and safe for
// several goroutines.
type Key struct {
	// ID is the keyId of the signature, normally the actor's id with "#main-key".
	ID string

	private *sign.Key
}

// Format is the key's id whatever the verb, and nothing of the key.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.ID) }

// ParseKey reads an RSA key (PKCS#8 or PKCS#1) or an Ed25519 key (PKCS#8) from PEM. Every error is an
// [*UnpreparableError] that says nothing of the key but what is wrong with it.
func ParseKey(id, pemText string) (*Key, error) {
	if err := checkKeyID(id); err != nil {
		return nil, err
	}
	if len(pemText) > maxPEMBytes {
		return nil, unpreparable("the private key of %s is longer than any usable key", id)
	}
	parsed, err := parsePrivateKey(id, pemText)
	if err != nil {
		return nil, err
	}
	if private, ok := parsed.(*rsa.PrivateKey); ok {
		switch bits := private.N.BitLen(); {
		case bits < minRSABits:
			return nil, unpreparable("the private key of %s has %d bits, which is too short to sign with; give the actor a new key", id, bits)
		case bits > maxRSABits:
			return nil, unpreparable("the private key of %s has %d bits, more than %d", id, bits, maxRSABits)
		}
	}
	private, err := sign.NewKey(parsed)
	if err != nil {
		return nil, unpreparable("the private key of %s can't be used: %s", id, err)
	}
	return &Key{ID: id, private: private}, nil
}

// parsePrivateKey returns an *rsa.PrivateKey or an ed25519.PrivateKey.
func parsePrivateKey(id, pemText string) (any, error) {
	block, _ := pem.Decode([]byte(pemText))
	if block == nil {
		return nil, unpreparable("the private key of %s is not PEM", id)
	}
	// The errors of x509 are left out: they tell a developer of ASN.1, and the operator nothing.
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, unpreparable("the private key of %s is not a valid RSA key", id)
		}
		return key, nil
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, unpreparable("the private key of %s is not a valid PKCS#8 key", id)
		}
		switch key.(type) {
		case *rsa.PrivateKey, ed25519.PrivateKey:
			return key, nil
		case *ecdsa.PrivateKey:
			return nil, unpreparable("the private key of %s is ECDSA; receivers verify RSA and Ed25519 keys only", id)
		}
		return nil, unpreparable("the private key of %s is neither RSA nor Ed25519", id)
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return nil, unpreparable("the private key of %s is a public key", id)
	case "ENCRYPTED PRIVATE KEY":
		return nil, unpreparable("the private key of %s is encrypted with a passphrase", id)
	}
	return nil, unpreparable("the private key of %s is PEM of another kind", id)
}

// checkKeyID refuses what would break out of the quoted string of the Signature header.
func checkKeyID(id string) error {
	if id == "" {
		return unpreparable("the actor has no key id")
	}
	if len(id) > maxURLBytes {
		return unpreparable("the key id is longer than %d bytes", maxURLBytes)
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return unpreparable("the key id %q has a character that can't stand in a Signature header", shorten(id, 80))
		}
	}
	return nil
}
