package sign

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parseKey reads one of the keys in testdata, which were made with openssl genpkey for these tests.
func parseKey(t testing.TB, file string) *Key {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	var private any
	if block.Type == "RSA PRIVATE KEY" {
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		t.Fatalf("%s: %s", file, err)
	}
	key, err := NewKey(private)
	if err != nil {
		t.Fatalf("%s: %s", file, err)
	}
	return key
}

func testKey(t testing.TB, name string) *Key {
	t.Helper()
	return parseKey(t, filepath.Join("testdata", name+".pem"))
}

// testKeys are all of them, by name.
func testKeys(t testing.TB) map[string]*Key {
	t.Helper()
	files, err := filepath.Glob("testdata/*.pem")
	if err != nil || len(files) == 0 {
		t.Fatal("no keys", err)
	}
	keys := map[string]*Key{}
	for _, file := range files {
		keys[strings.TrimSuffix(filepath.Base(file), ".pem")] = parseKey(t, file)
	}
	return keys
}

// text is a message that says itself.
type text string

func (t text) SigningString() ([]byte, error) { return []byte(t), nil }
