package fediverse_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const keyID = "https://sender.example/users/alice#main-key"

// rsaKey is made once: it takes longer than all the rest.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func start(t testing.TB, config fediverse.Config) *fediverse.Fediverse {
	t.Helper()
	f, err := fediverse.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Register(keyID, &rsaKey().PublicKey)
	return f
}

// sender is what delivers in production, with time-outs for tests.
type sender struct {
	testing.TB
	client *deliver.Client
	key    *deliver.Key
}

func newSender(t testing.TB, f *fediverse.Fediverse, name string) *sender {
	t.Helper()
	client, err := deliver.NewClient(deliver.Config{
		Policy: deliver.Policy{AllowHTTP: true}, ConnectTo: f.Addr(), CAFile: f.CAFile(), SenderName: name,
		RequestTimeout: 10 * time.Second, TLSTimeout: 300 * time.Millisecond, HeaderTimeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	der, err := x509.MarshalPKCS8PrivateKey(rsaKey())
	if err != nil {
		t.Fatal(err)
	}
	key, err := deliver.ParseKey(keyID, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	return &sender{TB: t, client: client, key: key}
}

func (s *sender) post(inbox, activity string) deliver.Outcome {
	s.Helper()
	return s.postContext(s.Context(), inbox, activity)
}

func (s *sender) postContext(ctx context.Context, inbox, activity string) deliver.Outcome {
	s.Helper()
	document, err := deliver.NewDocument(fmt.Appendf(nil, `{"@context":"https://www.w3.org/ns/activitystreams","id":%q,"type":"Create"}`, activity))
	if err != nil {
		s.Fatal(err)
	}
	return s.client.Post(ctx, inbox, document, s.key)
}

func (s *sender) wantPost(inbox, activity string, status int) {
	s.Helper()
	if out := s.post(inbox, activity); out.Status != status {
		s.Errorf("%s to %s: %+v, want status %d", activity, inbox, out, status)
	}
}

func wantEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func wantNoViolations(t testing.TB, f *fediverse.Fediverse) {
	t.Helper()
	if first, count := f.Ledger().Violations(); count > 0 {
		t.Errorf("%d violations: %v", count, first)
	}
}

func id(n int) string { return fmt.Sprintf("https://sender.example/activities/%d", n) }
