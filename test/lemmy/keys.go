package lemmy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
)

// KeyForm is how a private key is written into Lemmy's tables.
type KeyForm string

// Lemmy writes PKCS#8; databases that began long ago have PKCS#1 too.
const (
	PKCS8 KeyForm = "PRIVATE KEY"
	PKCS1 KeyForm = "RSA PRIVATE KEY"
)

// ringSize is how many keys there are: enough for a site, a person and a community to have one each, so that a signature
// with another's key is noticed; making one takes long.
const ringSize = 3

// ring makes its keys once for a test binary.
var ring = sync.OnceValues(func() (keys [ringSize]*rsa.PrivateKey, err error) {
	for i := range keys {
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return keys, fmt.Errorf("make a key: %w", err)
		}
	}
	return keys, nil
})

// key returns the n-th key, counted round.
func key(n int) (*rsa.PrivateKey, error) {
	keys, err := ring()
	return keys[n%ringSize], err
}

// write returns the key as PEM.
func (form KeyForm) write(key *rsa.PrivateKey) (string, error) {
	if form == PKCS1 {
		return string(pem.EncodeToMemory(&pem.Block{Type: string(form), Bytes: x509.MarshalPKCS1PrivateKey(key)})), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("write a key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: string(PKCS8), Bytes: der})), nil
}
