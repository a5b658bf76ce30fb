package deliver

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/fedsender/fedsender/deliver/sign"
)

// covered is what an RFC 9421 signature covers: the components that all receivers of it want, and no more.
const covered = `("@method" "@target-uri" "content-digest")`

// sign makes the header lines that the signature brings: of draft-cavage, which every receiver reads that was looked
// at, or of RFC 9421 where the key is Ed25519, which most of those that know the key know in that form alone.
func (a *attempt) sign(ctx context.Context) error {
	if len(a.signed) > 0 && a.signed[0].value == a.now().Format(http.TimeFormat) {
		return nil // the connection was replaced within the second: the same string is not signed twice
	}
	began := a.trace.now()
	a.patience.pause()
	signature, err := a.client.signer.Sign(ctx, sign.Request{Key: a.key.private, Flow: a.doc, Begun: a.begun, Message: a})
	a.patience.resume()
	if errors.Is(err, errNothingKept) {
		return err
	}
	a.trace.signed(began, err)
	if err != nil {
		a.signErr = err
		return err
	}
	date := headerLine{"Date", a.date}
	if a.key.private.Algorithm() != sign.Ed25519 {
		a.signed = []headerLine{date, {"Signature", signatureHeader(a.key.ID, signature)}}
		return nil
	}
	a.signed = []headerLine{
		date, {"Content-Digest", a.doc.contentDigest()}, {"Signature-Input", "sig1=" + a.parameters},
		{"Signature", "sig1=:" + base64.StdEncoding.EncodeToString(signature) + ":"},
	}
	return nil
}

// SigningString implements [sign.Message]. It is called when the signature's turn has come, so that the date is that of
// the moment: the current second, cut off and not rounded, because a date that is ahead by any amount is refused by
// Castopod.
func (a *attempt) SigningString() ([]byte, error) {
	if a.gate.shut() {
		return nil, errShut
	}
	if a.from != nil {
		if a.kept = a.from.take(originOf(a)); a.kept == nil {
			return nil, errNothingKept
		}
	}
	now := a.now()
	a.date = now.Format(http.TimeFormat)
	if a.key.private.Algorithm() == sign.Ed25519 {
		a.parameters = signatureParameters(a.key.ID, now)
		return signatureBase(a.url.Scheme+"://"+a.url.Host+a.url.RequestURI(), a.doc.contentDigest(), a.parameters), nil
	}
	return signingString(a.url.RequestURI(), a.url.Host, a.date, a.doc.Digest), nil
}

func (a *attempt) now() time.Time { return a.client.config.Now().UTC() }

// signingString is what draft-cavage-http-signatures-12, 2.3, signs for the headers
// "(request-target) host date digest": what every receiver read for the interoperability study accepts.
func signingString(target, host, date, digest string) []byte {
	b := make([]byte, 0, 64+len(target)+len(host)+len(date)+len(digest))
	b = append(append(b, "(request-target): post "...), target...)
	b = append(append(b, "\nhost: "...), host...)
	b = append(append(b, "\ndate: "...), date...)
	b = append(append(b, "\ndigest: "...), digest...)
	return b
}

// signatureHeader writes the parameters in the one order, with quotes and without blanks, that all parsers take:
// Castopod reads them with a regular expression; Misskey, GoToSocial and PieFed trip over blanks.
func signatureHeader(keyID string, signature []byte) string {
	b := make([]byte, 0, 1024) // on the stack, unless the key is extraordinary
	b = append(append(b, `keyId="`...), keyID...)
	b = append(b, `",algorithm="rsa-sha256",headers="(request-target) host date digest",signature="`...)
	b = append(base64.StdEncoding.AppendEncode(b, signature), '"')
	return string(b)
}

// signatureParameters are those of RFC 9421, 2.3. A key id has passed checkKeyID, so it needs no escaping.
func signatureParameters(keyID string, created time.Time) string {
	return covered + ";created=" + strconv.FormatInt(created.Unix(), 10) + `;keyid="` + keyID + `";alg="ed25519"`
}

// signatureBase is what RFC 9421, 2.5, signs.
func signatureBase(target, digest, parameters string) []byte {
	b := make([]byte, 0, 96+len(target)+len(digest)+len(parameters))
	b = append(b, "\"@method\": POST"...)
	b = append(append(b, "\n\"@target-uri\": "...), target...)
	b = append(append(b, "\n\"content-digest\": "...), digest...)
	b = append(append(b, "\n\"@signature-params\": "...), parameters...)
	return b
}
