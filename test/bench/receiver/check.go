package receiver

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-fed/httpsig"
)

// maxAge is what the strictest server allows for a Date.
const maxAge = 30 * time.Second

// objection says what a server would object to in a request, or "". Which headers are signed and in what order is the
// sender's: libraries differ.
func (r *receiver) objection(request *http.Request, body []byte) string {
	sum := sha256.Sum256(body)
	if text := request.Header.Get("Digest"); text != "SHA-256="+base64.StdEncoding.EncodeToString(sum[:]) {
		return "the digest is not that of the body: " + text
	}
	date, err := http.ParseTime(request.Header.Get("Date"))
	if err != nil || time.Since(date).Abs() > maxAge {
		return "the date is not that of today: " + request.Header.Get("Date")
	}
	seen := &http.Request{Method: request.Method, URL: &url.URL{Path: request.RequestURI}, Host: request.Host, Header: request.Header}
	verifier, err := httpsig.NewVerifier(seen)
	if err != nil {
		return fmt.Sprintf("the signature can't be read: %s", err)
	}
	key, known := r.keys.Load(verifier.KeyId())
	if !known {
		return "no key is known as " + verifier.KeyId()
	}
	algorithm := httpsig.RSA_SHA256
	if _, edwards := key.(ed25519.PublicKey); edwards {
		algorithm = httpsig.ED25519
	}
	if err := verifier.Verify(key, algorithm); err != nil {
		return fmt.Sprintf("the signature is wrong: %s", err)
	}
	return ""
}

// publicKey reads one in PEM (SPKI).
func publicKey(text []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the public key is not PEM")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}
