package fediverse

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
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

// verifyMessage checks what RFC 9421 wants, after RFC 9421, 3.2, and RFC 9530.
func (f *Fediverse) verifyMessage(x *Exchange) string {
	r := x.r
	sum := sha256.Sum256(x.Body)
	digest := r.Header.Get("Content-Digest")
	if digest != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":" {
		return "Content-Digest is not that of the body: " + digest
	}
	input := signatureInput.FindStringSubmatch(r.Header.Get("Signature-Input"))
	if input == nil {
		return "Signature-Input is not of @method, @target-uri, content-digest with created, keyid, alg, in this order: " + r.Header.Get("Signature-Input")
	}
	parameters, keyID := input[1], input[3]
	if reason := f.checkCreated(x, input[2]); reason != "" {
		return reason
	}
	text := signatureBytes.FindStringSubmatch(r.Header.Get("Signature"))
	if text == nil {
		return "Signature is no byte sequence: " + r.Header.Get("Signature")
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(text[1])
	if err != nil {
		return "the signature is not standard base64"
	}
	x.KeyID = keyID
	found, _ := f.keys.Load(keyID)
	key, ok := found.(ed25519.PublicKey)
	if !ok {
		return "no Ed25519 key is known as " + keyID
	}
	scheme := "http"
	if c, _ := r.Context().Value(connectionKey{}).(*connection); c != nil {
		if _, encrypted := c.serverName(); encrypted {
			scheme = "https"
		}
	}
	base := `"@method": ` + r.Method + "\n" + `"@target-uri": ` + scheme + "://" + r.Host + r.RequestURI + "\n" +
		`"content-digest": ` + digest + "\n" + `"@signature-params": ` + parameters
	if !ed25519.Verify(key, []byte(base), signature) {
		return "the signature is wrong"
	}
	return ""
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
