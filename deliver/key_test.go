package deliver_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/deliver"
)

// shortKey is an RSA key of 512 bits, which crypto/rsa no longer makes.
const shortKey = "" +
	`-----BEGIN RSA PRIVATE KEY-----` + "\n" +
	`MIIBOwIBAAJBAM0rh/VjEAcBUJZ60egrxbhoEiJKd9I1ifV0bfP3fQ4sO0yXz/s8` + "\n" +
	`XP9WM2LOJEoSi/gqWKHlV3MRShLuF1LGzysCAwEAAQJBAMxrL+ZFEkX4gGO98YBC` + "\n" +
	`hJhMUK0Lx0CRCWie3aJzFo1TqSIVe4LL2Nqaek8H4moI1oEnYFB7BcYIeyXC5klJ` + "\n" +
	`YmECIQDzpl2fFQvactfqi8AZCUAyCRKopuW51rFSC31M6tig8QIhANeR2IwlGOHX` + "\n" +
	`AYRyMbAVyeyG9ZathPHU8oetTphvFzHbAiBwt+OSCBuOuRiYooSBUJ1JSJdAPM4E` + "\n" +
	`doVcLoKORgtoEQIgbGDqA0OfZ+PF4oXbD1FVDLKphFDG1yKdsLLkIeUwPyMCIQCT` + "\n" +
	`6KpuzmkS7mpIWX/OCwz7mPiUVxL/8ta/HDsGf8mRsw==` + "\n" +
	`-----END RSA PRIVATE KEY-----` + "\n"

func wantUnpreparable(t *testing.T, err error, words string) {
	t.Helper()
	var unpreparable *deliver.UnpreparableError
	if !errors.As(err, &unpreparable) {
		t.Fatalf("want an UnpreparableError that says %q, got %v", words, err)
	}
	if !strings.Contains(unpreparable.Reason, words) || strings.ContainsAny(unpreparable.Reason, "\r\n") {
		t.Errorf("the reason %q does not say %q in one line", unpreparable.Reason, words)
	}
}

func TestParseKey_ReadsRSAInBothForms(t *testing.T) {
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())}))
	for _, text := range []string{pkcs8(t, rsaKey()), pkcs1, strings.ReplaceAll(pkcs1, "\n", "\r\n"), "\n\n" + pkcs1 + "rest"} {
		key, err := deliver.ParseKey(keyID, text)
		if err != nil || key.ID != keyID {
			t.Errorf("got %v, %v", key, err)
		}
	}
}

func TestParseKey_ReadsEd25519(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := deliver.ParseKey(keyID, pkcs8(t, private)); err != nil || key.ID != keyID {
		t.Errorf("got %v, %v", key, err)
	}
}

func TestKey_ShowsNothingOfItselfWhenItIsPrinted(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := pkcs8(t, private)
	key, err := deliver.ParseKey(keyID, text)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	seed := private.Seed()
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, shown := range []string{fmt.Sprintf(format, key), fmt.Sprintf(format, *key)} {
			for _, secret := range []string{
				string(seed), fmt.Sprintf("%x", seed), fmt.Sprint(seed)[1:20], base64.StdEncoding.EncodeToString(block.Bytes)[20:],
			} {
				if strings.Contains(shown, secret) {
					t.Errorf("%s shows the key: %s", format, shown)
				}
			}
		}
	}
}

func TestParseKey_SaysWhatIsWrongWithAKeyAndNothingOfIt(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchangeKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := pkcs8(t, rsaKey())
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for _, c := range []struct{ text, words string }{
		{"", "not PEM"},
		{"hunter2", "not PEM"},
		{good[:len(good)/2], "not PEM"},
		{block("PRIVATE KEY", []byte("hunter2")), "not a valid PKCS#8 key"},
		{block("RSA PRIVATE KEY", []byte("hunter2")), "not a valid RSA key"},
		{block("PUBLIC KEY", nil), "public key"},
		{block("ENCRYPTED PRIVATE KEY", nil), "passphrase"},
		{block("CERTIFICATE", nil), "another kind"},
		{pkcs8(t, exchangeKey), "neither RSA nor Ed25519"},
		{pkcs8(t, ecKey), "ECDSA"},
		{shortKey, "512 bits"},
		{strings.Repeat("a", 1<<20), "longer"},
	} {
		_, err := deliver.ParseKey(keyID, c.text)
		wantUnpreparable(t, err, c.words)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the reason %q repeats the key", err)
		}
	}
}

func TestParseKey_RefusesAKeyIDThatBreaksOutOfItsHeader(t *testing.T) {
	for _, id := range []string{
		"", `https://a.example/"`, "https://a.example/\r\nX: y", "https://a.example/\n", "https://a.example/\x00",
		"https://a.example/ b", `https://a.example/\`, "https://ä.example/", "https://a.example/\x7f", strings.Repeat("a", 5000),
	} {
		_, err := deliver.ParseKey(id, pkcs8(t, rsaKey()))
		wantUnpreparable(t, err, "key id")
	}
}

func TestNewDocument_TakesJSONObjectsUpToOneMiB(t *testing.T) {
	doc := newDocument(t, " \n{}")
	if doc.Digest != "SHA-256=b0jvBpPDKWHTmGb5/jhNt3VZEfuFsQx/LWTQwHjxaAc=" && len(doc.Digest) != 52 {
		t.Errorf("the digest is %q", doc.Digest)
	}
	if got := newDocument(t, "{}").Digest; got != "SHA-256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" {
		t.Errorf("the digest is %q", got)
	}
	fill := func(n int) string { return `{"a":"` + strings.Repeat("x", n-8) + `"}` }
	newDocument(t, fill(deliver.MaxBodyBytes))
	for _, c := range []struct{ body, words string }{
		{"", "not a JSON object"}, {"null", "not a JSON object"}, {"[{}]", "not a JSON object"}, {"{} {}", "not a JSON object"},
		{`{"a":}`, "not a JSON object"}, {"\ufeff{}", "not a JSON object"}, {fill(deliver.MaxBodyBytes + 1), "longer than 1048576 bytes"},
	} {
		_, err := deliver.NewDocument([]byte(c.body))
		wantUnpreparable(t, err, c.words)
	}
}
