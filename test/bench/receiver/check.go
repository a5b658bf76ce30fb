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

	"github.com/fedsender/fedsender/test/fediverse"
)

// maxAge is what the strictest server allows for a Date.
const maxAge = 30 * time.Second

// objection says what a server would object to in a request, or "". Which headers a draft-cavage signature is of, and in what
// order, is the sender's: libraries differ.
func (r *receiver) objection(request *http.Request, scheme string, body []byte) string {
	if date, err := http.ParseTime(request.Header.Get("Date")); err != nil || time.Since(date).Abs() > maxAge {
		return "the date is not that of today: " + request.Header.Get("Date")
	}
	if request.Header.Get("Signature-Input") != "" {
		_, _, reason := fediverse.VerifyMessage(request, scheme, body, func(id string) ed25519.PublicKey {
			found, _ := r.keys.Load(id)
			key, _ := found.(ed25519.PublicKey)
			return key
		})
		return reason
	}
	sum := sha256.Sum256(body)
	if text := request.Header.Get("Digest"); text != "SHA-256="+base64.StdEncoding.EncodeToString(sum[:]) {
		return "the digest is not that of the body: " + text
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
	if err := verifier.Verify(key, httpsig.RSA_SHA256); err != nil {
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
