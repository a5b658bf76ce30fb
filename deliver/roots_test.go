package deliver_test

import (
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
)

func TestReloadCAFile_TrustsWhatTheFileHoldsFromThenOn(t *testing.T) {
	server, config := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	address := server.Listener.Addr().String()
	proxy, _ := proxyTo(t, address)
	config.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Host == "example.com" {
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
		holds            string
		changed, refused bool
		delivers         bool
	}{
		{right, false, false, true},
		{other, true, false, false}, // although connections were kept, and sessions
		{"garbage", false, true, false},
		{other + right, true, false, true},
		{"", false, true, true},
		{other + right, false, false, true},
	} {
		if err := os.WriteFile(config.CAFile, []byte(step.holds), 0o600); err != nil {
			t.Fatal(err)
		}
		changed, err := client.ReloadCAFile()
		if changed != step.changed || (err != nil) != step.refused {
			t.Fatalf("%.30q: changed is %t, error %v", step.holds, changed, err)
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

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
