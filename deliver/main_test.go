package deliver_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/deliver"
)

func TestMain(m *testing.M) {
	if os.Getenv(receiverRole) != "" {
		receive()
		return
	}
	goleak.VerifyTestMain(m)
}

const keyID = "https://sender.example/users/alice#main-key"

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// rsaKey is made once: it takes longer than all the rest.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func newKey(t testing.TB) *deliver.Key {
	t.Helper()
	key, err := deliver.ParseKey(keyID, pkcs8(t, rsaKey()))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newDocument(t testing.TB, body string) *deliver.Document {
	t.Helper()
	doc, err := deliver.NewDocument([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func newClient(t testing.TB, config deliver.Config) *deliver.Client {
	t.Helper()
	client, err := deliver.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// newServer starts a TLS server and returns a configuration that reaches it by its address.
func newServer(t testing.TB, handler http.HandlerFunc) (*httptest.Server, deliver.Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up are what is tested
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, deliver.Config{Policy: deliver.Policy{AllowPrivate: loopback}, CAFile: caFile(t, server)}
}

func caFile(t testing.TB, server *httptest.Server) string {
	t.Helper()
	return certificateFile(t, server.Certificate().Raw)
}

func certificateFile(t testing.TB, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	pemText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, pemText, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func post(t testing.TB, config deliver.Config, inbox string) deliver.Outcome {
	t.Helper()
	return newClient(t, config).Post(t.Context(), inbox, newDocument(t, `{"type":"Create"}`), newKey(t))
}

func wantClass(t testing.TB, out deliver.Outcome, class deliver.Class, words ...string) {
	t.Helper()
	if out.Class != class {
		t.Fatalf("class is %s, want %s: %+v", out.Class, class, out)
	}
	for _, word := range words {
		if !strings.Contains(out.Reason, word) {
			t.Errorf("the reason %q does not say %q", out.Reason, word)
		}
	}
	if class == deliver.Delivered != (out.Reason == "") || len([]rune(out.Reason)) > 200 || strings.ContainsAny(out.Reason, "\n\r\x1b") {
		t.Errorf("the reason is %q", out.Reason)
	}
}

// within fails when do takes longer than a hang of any phase may.
func within(t testing.TB, limit time.Duration, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if took := time.Since(start); took > limit {
		t.Errorf("took %s, more than %s", took, limit)
	}
}
