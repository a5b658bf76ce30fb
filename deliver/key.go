package deliver

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
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

	rsa *rsa.PrivateKey
}

// ParseKey reads an RSA key (PKCS#8 or PKCS#1) from PEM. Every error is an [*UnpreparableError] that says nothing of
// the key but what is wrong with it. Ed25519 is refused: the draft-cavage form that all receivers read is RSA only.
func ParseKey(id, pemText string) (*Key, error) {
	if err := checkKeyID(id); err != nil {
		return nil, err
	}
	if len(pemText) > maxPEMBytes {
		return nil, unpreparable("the private key of %s is longer than any usable key", id)
	}
	private, err := parsePrivateKey(id, pemText)
	if err != nil {
		return nil, err
	}
	switch bits := private.N.BitLen(); {
	case bits < minRSABits:
		return nil, unpreparable("the private key of %s has %d bits, which is too short to sign with; give the actor a new key", id, bits)
	case bits > maxRSABits:
		return nil, unpreparable("the private key of %s has %d bits, more than %d", id, bits, maxRSABits)
	}
	return &Key{ID: id, rsa: private}, nil
}

func parsePrivateKey(id, pemText string) (*rsa.PrivateKey, error) {
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
		switch key := key.(type) {
		case *rsa.PrivateKey:
			return key, nil
		case ed25519.PrivateKey:
			return nil, unpreparable("the private key of %s is Ed25519; receivers verify this signature form with RSA keys only", id)
		case *ecdsa.PrivateKey:
			return nil, unpreparable("the private key of %s is ECDSA; receivers verify RSA keys only", id)
		}
		return nil, unpreparable("the private key of %s is not an RSA key", id)
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
