package deliver_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

func TestReloadCAFile_TrustsWhatTheFileHoldsFromThenOn(t *testing.T) {
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	address := server.Listener.Addr().String()
	proxy, _ := proxyTo(t, address)
	config.Proxy = func(target *url.URL) (*url.URL, error) {
		if target.Host == "example.com" {
			return proxy, nil
		}
		return nil, nil
	}
	stranger, err := fediverse.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	right, other := read(t, config.CAFile), read(t, stranger.CAFile())
	client := newClient(t, config)
	key, doc := newKey(t), newDocument(t, `{"type":"Create"}`)
	for _, step := range []struct {
		holds        string
		certificates int
		refused      bool
		delivers     bool
	}{
		{right, 0, false, true},
		{other, 1, false, false}, // although connections were kept, and sessions
		{"garbage", 0, true, false},
		{other + right, 2, false, true},
		{"", 0, true, true},
		{strings.Repeat(right, 1+(1<<20)/len(right)), 0, true, true},
		{other + right, 0, false, true},
	} {
		if err := os.WriteFile(config.CAFile, []byte(step.holds), 0o600); err != nil {
			t.Fatal(err)
		}
		certificates, err := client.ReloadCAFile()
		if certificates != step.certificates || (err != nil) != step.refused {
			t.Fatalf("%.30q: %d certificates, error %v", step.holds, certificates, err)
		}
		for _, inbox := range []string{"https://" + address + "/inbox", "https://example.com/inbox"} {
			out := client.Post(t.Context(), inbox, doc, key)
			if step.delivers {
				wantClass(t, out, deliver.Delivered)
			} else {
				wantClass(t, out, deliver.Retry, "certificate of")
			}
		}
	}
}

func TestReloadCAFile_AConnectionInUseIsNotUsedAgain(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusAccepted)
	})
	stranger, err := fediverse.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, config)
	key, doc := newKey(t), newDocument(t, `{"type":"Create"}`)
	inbox := "https://" + server.Listener.Addr().String() + "/inbox"
	ended := make(chan deliver.Outcome, 1)
	go func() { ended <- client.Post(t.Context(), inbox, doc, key) }()
	<-asked
	if err := os.WriteFile(config.CAFile, []byte(read(t, stranger.CAFile())), 0o600); err != nil {
		t.Fatal(err)
	}
	if certificates, err := client.ReloadCAFile(); certificates != 1 || err != nil {
		t.Fatalf("%d certificates, error %v", certificates, err)
	}
	close(answer)
	wantClass(t, <-ended, deliver.Delivered)
	if idle := client.Idle(); idle != 0 {
		t.Errorf("%d connections are kept", idle)
	}
	wantClass(t, client.Post(t.Context(), inbox, doc, key), deliver.Retry, "certificate of")
}

func TestReloadCAFile_AHandshakeUnderWayIsMadeAgain(t *testing.T) {
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	stranger, err := fediverse.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, config)
	var once sync.Once
	server.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		once.Do(func() {
			if err := os.WriteFile(config.CAFile, []byte(read(t, stranger.CAFile())), 0o600); err != nil {
				t.Error(err)
			}
			if _, err := client.ReloadCAFile(); err != nil {
				t.Error(err)
			}
		})
		return nil, nil
	}
	inbox := "https://" + server.Listener.Addr().String() + "/inbox"
	wantClass(t, client.Post(t.Context(), inbox, newDocument(t, `{"type":"Create"}`), newKey(t)), deliver.Retry, "certificate of")
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
