package fediverse_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

const edKeyID = "https://sender.example/users/alice#ed25519-key"

func edKey(t testing.TB, f *fediverse.Fediverse) ed25519.PrivateKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.RegisterEd25519(edKeyID, public)
	return private
}

func TestFediverse_TakesWhatTheSenderSignsWithEd25519(t *testing.T) {
	f := start(t, fediverse.Config{})
	der, err := x509.MarshalPKCS8PrivateKey(edKey(t, f))
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(t, f, "one")
	if s.key, err = deliver.ParseKey(edKeyID, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))); err != nil {
		t.Fatal(err)
	}
	for i, inbox := range []string{
		"https://toad.example/inbox", "http://toad.example/inbox", "https://frog.example/users/a%20b/inbox?x=1&y=%2F",
		"https://bücher.example/inbox", "https://TOAD.example:443/inbox", "https://toad.example:8443/inbox",
	} {
		s.wantPost(inbox, id(i), http.StatusAccepted)
	}
	wantNoViolations(t, f)
}

// message is a request signed by RFC 9421 that is right in everything, to be spoilt.
type message struct {
	body, digest, date, components, parameters, base string

	created   time.Time
	signature []byte
	header    http.Header
}

func rightMessage() *message {
	m := &message{
		body: `{"id":"https://sender.example/1"}`, created: time.Now(), date: time.Now().UTC().Format(http.TimeFormat),
		components: `("@method" "@target-uri" "content-digest")`, parameters: `;created=%d;keyid="` + edKeyID + `";alg="ed25519"`,
		base:   "\"@method\": POST\n\"@target-uri\": https://toad.example/inbox\n\"content-digest\": %d\n\"@signature-params\": %p",
		header: http.Header{"Content-Type": {"application/activity+json"}, "User-Agent": {"test/1"}, "Connection": {"close"}},
	}
	m.digest = "sha-256=:" + sha256Of(m.body) + ":"
	return m
}

func (m *message) send(t *testing.T, f *fediverse.Fediverse, key ed25519.PrivateKey) (status int, text string) {
	t.Helper()
	parameters := m.components + strings.Replace(m.parameters, "%d", fmt.Sprint(m.created.Unix()), 1)
	if m.signature == nil {
		m.signature = ed25519.Sign(key, []byte(strings.NewReplacer("%d", m.digest, "%p", parameters).Replace(m.base)))
	}
	var raw strings.Builder
	fmt.Fprintf(&raw, "POST /inbox HTTP/1.1\r\nHost: toad.example\r\nContent-Length: %d\r\nDate: %s\r\nContent-Digest: %s\r\nDigest: SHA-256=%s\r\n"+
		"Signature-Input: sig1=%s\r\nSignature: sig1=:%s:\r\n", len(m.body), m.date, m.digest, sha256Of(m.body), parameters, base64.StdEncoding.EncodeToString(m.signature))
	if err := m.header.Write(&raw); err != nil {
		t.Fatal(err)
	}
	return exchange(t, f, "toad.example", []byte(raw.String()+"\r\n"+m.body))
}

func TestFediverse_RefusesEachDeviationOfAnEd25519Signature(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		spoil        func(*message)
	}{
		{"nothing", "", func(*message) {}},
		{"28 s old", "", func(m *message) { m.created = m.created.Add(-28 * time.Second) }},
		{"32 s old", "older", func(m *message) { m.created = m.created.Add(-32 * time.Second) }},
		{"ahead", "ahead", func(m *message) { m.created = m.created.Add(2 * time.Second) }},
		{"another body", "Content-Digest is not", func(m *message) { m.digest = "sha-256=:" + sha256Of("other") + ":" }},
		{"another path", "signature is wrong", func(m *message) { m.base = strings.Replace(m.base, "/inbox", "/other", 1) }},
		{"another host", "signature is wrong", func(m *message) { m.base = strings.Replace(m.base, "toad", "frog", 1) }},
		{"another method", "signature is wrong", func(m *message) { m.base = strings.Replace(m.base, "POST", "post", 1) }},
		{"no target", "in this order", func(m *message) { m.components = `("@method" "content-digest")` }},
		{"no created", "in this order", func(m *message) { m.parameters = `;keyid="` + edKeyID + `";alg="ed25519"` }},
		{"no algorithm", "in this order", func(m *message) { m.parameters = `;created=%d;keyid="` + edKeyID + `"` }},
		{"an unknown key", "no Ed25519 key is known", func(m *message) { m.parameters = strings.Replace(m.parameters, "alice", "bob", 1) }},
		{"an RSA key", "no Ed25519 key is known", func(m *message) { m.parameters = strings.Replace(m.parameters, edKeyID, keyID, 1) }},
		{"a broken signature", "signature is wrong", func(m *message) { m.signature = make([]byte, ed25519.SignatureSize) }},
		{"no user agent", "User-Agent", func(m *message) { m.header.Del("User-Agent") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, fediverse.Config{})
			key := edKey(t, f)
			m := rightMessage()
			c.spoil(m)
			status, text := m.send(t, f, key)
			if c.reason == "" {
				wantEqual(t, "status", status, http.StatusAccepted)
				wantNoViolations(t, f)
				return
			}
			wantEqual(t, "status", status, http.StatusUnauthorized)
			if !strings.Contains(text, c.reason) {
				t.Errorf("the answer %q does not say %q", text, c.reason)
			}
		})
	}
}
