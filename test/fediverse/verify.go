package fediverse

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-fed/httpsig"
)

// maxAge is what the strictest receiver (Funkwhale) allows; Castopod refuses a Date that is ahead at all.
const maxAge = 30 * time.Second

// verify returns what any known server would object to, in words, or "". The demands are listed at Register.
func (f *Fediverse) verify(x *Exchange) string {
	r := x.r
	for _, check := range []func(*Exchange) string{checkHost, checkHeaders, checkDate, checkDigest} {
		if reason := check(x); reason != "" {
			return reason
		}
	}
	if r.Header.Get("Signature-Input") != "" {
		return f.verifyMessage(x)
	}
	keyID, reason := parseSignature(r.Header)
	if reason != "" {
		return reason
	}
	x.KeyID = keyID
	found, _ := f.keys.Load(keyID)
	key, ok := found.(*rsa.PublicKey)
	if !ok {
		return "no key is known as " + keyID
	}
	if every := uint64(max(f.config.VerifyEvery, 1)); (f.verified.Add(1)-1)%every != 0 {
		return ""
	}
	// The library signs the decoded path, and every server that was looked at the one on the wire: give it the latter.
	seen := &http.Request{Method: r.Method, URL: &url.URL{Path: r.RequestURI}, Host: r.Host, Header: r.Header}
	verifier, err := httpsig.NewVerifier(seen)
	if err != nil {
		return "the signature can't be read: " + err.Error()
	}
	if err := verifier.Verify(key, httpsig.RSA_SHA256); err != nil {
		return "the signature is wrong: " + err.Error()
	}
	return ""
}

func checkHost(x *Exchange) string {
	host := x.r.Host
	if host != strings.ToLower(host) {
		return "Host is not in lower case"
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	c, _ := x.r.Context().Value(connectionKey{}).(*connection)
	sni, encrypted := c.serverName()
	if encrypted && sni != name && net.ParseIP(name) == nil {
		return "Host is " + host + " and the name of the TLS handshake " + sni
	}
	if encrypted && port == "443" || !encrypted && port == "80" {
		return "Host has the default port"
	}
	return ""
}

func checkHeaders(x *Exchange) string {
	header := x.r.Header
	for _, name := range []string{"Content-Type", "Date", "Digest", "Signature", "User-Agent"} {
		if len(header[name]) != 1 {
			return name + " is not there exactly once"
		}
	}
	// Servers look at it before Signature.
	if header.Get("Authorization") != "" {
		return "Authorization is there besides Signature"
	}
	if header.Get("Content-Type") != "application/activity+json" {
		return "Content-Type is " + header.Get("Content-Type")
	}
	if agent := header.Get("User-Agent"); agent == "" || strings.HasPrefix(agent, "Go-http-client") {
		return "User-Agent is that of a library: " + agent
	}
	return ""
}

func checkDate(x *Exchange) string {
	text := x.r.Header.Get("Date")
	date, err := time.Parse(http.TimeFormat, text)
	if err != nil || date.Format(http.TimeFormat) != text {
		return "Date is not in the form of RFC 9110: " + text
	}
	if within := x.f.config.DateWithin; within > 0 {
		if x.arrived.Sub(date).Abs() > within {
			return fmt.Sprintf("Date is more than %s away: %s", within, text)
		}
		return ""
	}
	if date.After(x.arrived) {
		return "Date is ahead: " + text
	}
	if x.arrived.Sub(date) > maxAge {
		return "Date is older than 30 s: " + text
	}
	return ""
}

func checkDigest(x *Exchange) string {
	sum := sha256.Sum256(x.Body)
	if text := x.r.Header.Get("Digest"); text != "SHA-256="+base64.StdEncoding.EncodeToString(sum[:]) {
		return "Digest is not that of the body: " + text
	}
	return ""
}

// parseSignature allows one form only, byte for byte.
func parseSignature(header http.Header) (keyID, reason string) {
	const (
		before  = `keyId="`
		between = `",algorithm="rsa-sha256",headers="(request-target) host date digest",signature="`
		after   = `"`
	)
	text := header.Get("Signature")
	rest, ok := strings.CutPrefix(text, before)
	keyID, rest, found := strings.Cut(rest, between)
	signature, closed := strings.CutSuffix(rest, after)
	if !ok || !found || !closed || strings.ContainsAny(keyID, `",`) {
		return "", "Signature is not keyId, algorithm rsa-sha256, headers (request-target) host date digest, signature, in this order: " + text
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(signature); err != nil {
		return "", "the signature is not standard base64"
	}
	return keyID, ""
}

func parsePublicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the public key is not PEM")
	}
	if block.Type == "RSA PUBLIC KEY" {
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the public key is not RSA")
	}
	return key, nil
}
