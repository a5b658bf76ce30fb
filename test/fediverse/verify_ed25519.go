package fediverse

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// RegisterEd25519 makes such a key known. A request with it has a signature of RFC 9421 instead, the one form that all
// servers take that know Ed25519, and is refused unless
//   - its Signature-Input is ("@method" "@target-uri" "content-digest");created;keyid;alg="ed25519", in this order, and
//     its Signature right for them;
//   - created is at most 30 s ago and not ahead;
//   - its Content-Digest is of SHA-256 and of the body;
//   - its Date, Host, Content-Type, User-Agent and body are as Register wants them.
func (f *Fediverse) RegisterEd25519(keyID string, key ed25519.PublicKey) { f.keys.Store(keyID, key) }

var (
	signatureInput = regexp.MustCompile(`^sig1=(\("@method" "@target-uri" "content-digest"\);created=([0-9]+);keyid="([^"\\]+)";alg="ed25519")$`)
	signatureBytes = regexp.MustCompile(`^sig1=:([A-Za-z0-9+/]+=*):$`)
)

// VerifyMessage says what is wrong with the signature of RFC 9421 (3.2; Content-Digest: RFC 9530) of a request of that scheme
// whose body has been read, or "", and when it was created, for the caller to judge, by its text.
func VerifyMessage(r *http.Request, scheme string, body []byte, key func(id string) ed25519.PublicKey) (keyID, created, reason string) {
	sum := sha256.Sum256(body)
	digest := r.Header.Get("Content-Digest")
	if digest != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":" {
		return "", "", "Content-Digest is not that of the body: " + digest
	}
	input := signatureInput.FindStringSubmatch(r.Header.Get("Signature-Input"))
	if input == nil {
		return "", "", "Signature-Input is not of @method, @target-uri, content-digest with created, keyid, alg, in this order: " + r.Header.Get("Signature-Input")
	}
	parameters, created, keyID := input[1], input[2], input[3]
	text := signatureBytes.FindStringSubmatch(r.Header.Get("Signature"))
	if text == nil {
		return keyID, created, "Signature is no byte sequence: " + r.Header.Get("Signature")
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(text[1])
	if err != nil {
		return keyID, created, "the signature is not standard base64"
	}
	known := key(keyID)
	if known == nil {
		return keyID, created, "no Ed25519 key is known as " + keyID
	}
	base := `"@method": ` + r.Method + "\n" + `"@target-uri": ` + scheme + "://" + r.Host + r.RequestURI + "\n" +
		`"content-digest": ` + digest + "\n" + `"@signature-params": ` + parameters
	if !ed25519.Verify(known, []byte(base), signature) {
		return keyID, created, "the signature is wrong"
	}
	return keyID, created, ""
}

// verifyMessage checks what RFC 9421 wants.
func (f *Fediverse) verifyMessage(x *Exchange) string {
	scheme := "http"
	if c, _ := x.r.Context().Value(connectionKey{}).(*connection); c != nil {
		if _, encrypted := c.serverName(); encrypted {
			scheme = "https"
		}
	}
	keyID, created, reason := VerifyMessage(x.r, scheme, x.Body, func(id string) ed25519.PublicKey {
		found, _ := f.keys.Load(id)
		key, _ := found.(ed25519.PublicKey)
		return key
	})
	x.KeyID = keyID
	if reason != "" {
		return reason
	}
	return f.checkCreated(x, created)
}

func (f *Fediverse) checkCreated(x *Exchange, text string) string {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "created is no time: " + text
	}
	created, within := time.Unix(seconds, 0), f.config.DateWithin
	switch {
	case within > 0 && x.arrived.Sub(created).Abs() > within:
		return "created is more than " + within.String() + " away: " + text
	case within > 0:
		return ""
	case created.After(x.arrived):
		return "created is ahead: " + text
	case x.arrived.Sub(created) > maxAge:
		return "created is older than 30 s: " + text
	}
	return ""
}
