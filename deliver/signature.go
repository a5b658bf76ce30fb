package deliver

import (
	"context"
	"encoding/base64"
	"net/http"
)

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
	b := make([]byte, 0, 96+len(keyID)+base64.StdEncoding.EncodedLen(len(signature)))
	b = append(append(b, `keyId="`...), keyID...)
	b = append(b, `",algorithm="rsa-sha256",headers="(request-target) host date digest",signature="`...)
	b = append(base64.StdEncoding.AppendEncode(b, signature), '"')
	return string(b)
}

// sign makes the header lines that the signature brings. The date is the current second, cut off and not rounded: a date that
// is ahead by any amount is refused by Castopod.
func (a *attempt) sign(ctx context.Context) error {
	date := a.client.config.Now().UTC().Format(http.TimeFormat)
	if a.date == date {
		return nil // the connection was replaced within the second: the same string is not signed twice
	}
	message := signingString(a.url.RequestURI(), a.url.Host, date, a.doc.Digest)
	signatures, err := a.client.signer.Sign(ctx, a.key, [][]byte{message})
	if err != nil {
		a.signErr = err
		return err
	}
	a.date = date
	a.signed = []headerLine{{"Date", date}, {"Signature", signatureHeader(a.key.ID, signatures[0])}}
	return nil
}
