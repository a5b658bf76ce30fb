package deliver

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// MaxBodyBytes is the longest activity that is sent: the limit of Mastodon and others, who answer 413 above it.
const MaxBodyBytes = 1 << 20

// Document is an activity's JSON with its digest, computed once for all receivers. It is safe for several goroutines
// as long as nobody changes it.
type Document struct {
	Body   []byte
	Digest string // "SHA-256=" and standard base64, RFC 3230
}

// NewDocument checks and digests a body. It keeps the slice, which must not be changed afterwards. Every error is an
// [*UnpreparableError].
func NewDocument(body []byte) (*Document, error) {
	if len(body) > MaxBodyBytes {
		return nil, unpreparable("the activity is longer than %d bytes", MaxBodyBytes)
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(body) {
		return nil, unpreparable("the activity is not a JSON object")
	}
	sum := sha256.Sum256(body)
	return &Document{Body: body, Digest: "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])}, nil
}

// contentDigest is the digest as RFC 9530 has it.
func (d *Document) contentDigest() string {
	return "sha-256=:" + strings.TrimPrefix(d.Digest, "SHA-256=") + ":"
}
