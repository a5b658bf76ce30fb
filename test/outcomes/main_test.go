// Package outcomes tests what each answer of a remote server, or its absence, does to a delivery: a [worker.Worker]
// decides under a virtual clock, so that days pass in milliseconds, and each of its deliveries is made for real by
// [deliver.Client] to a server of [fediverse] that behaves so.
package outcomes

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dialNames}
	goleak.VerifyTestMain(m)
}

// keyID is that of the actor who signs unless a test says otherwise.
const keyID = "https://sender.example/users/alice#main-key"

// rsaKey is made once: it takes longer than a whole test.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var rsaPEM = sync.OnceValue(func() string {
	der, err := x509.MarshalPKCS8PrivateKey(rsaKey())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})
