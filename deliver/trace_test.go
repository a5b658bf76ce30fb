package deliver_test

import (
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
)

func TestPostTraced_TellsOfEachPhaseAndCarriesTheTraceparent(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var mu sync.Mutex
	var carried []string
	server, config := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		carried = append(carried, r.Header.Get("Traceparent"))
	})
	// By a kept connection, without a trace, and through a proxy.
	client, doc, key := newClient(t, config), newDocument(t, `{}`), newKey(t)
	var phases []string
	phase := func(name string) func(time.Time, error) {
		return func(began time.Time, err error) {
			if err != nil || began.IsZero() {
				t.Errorf("%s: %s, %v", name, began, err)
			}
			phases = append(phases, name)
		}
	}
	trace := &deliver.Trace{Traceparent: parent, Connected: phase("connected"), Signed: phase("signed")}
	for _, told := range []*deliver.Trace{trace, trace, nil, {}} {
		wantClass(t, client.PostTraced(t.Context(), server.URL+"/inbox", doc, key, told), deliver.Delivered)
	}
	proxy := newScript(t, func(v *visit) { v.serve("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n") })
	config = deliver.Config{Policy: deliver.Policy{AllowHTTP: true}, Proxy: func(*url.URL) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: proxy.address}, nil
	}}
	wantClass(t, newClient(t, config).PostTraced(t.Context(), "http://toad.example/inbox", doc, key, trace), deliver.Delivered)
	if want := []string{"connected", "signed", "signed", "signed"}; !slices.Equal(phases[:min(len(phases), 4)], want) {
		t.Errorf("told of %v", phases)
	}
	if want := []string{parent, parent, "", ""}; !slices.Equal(carried, want) {
		t.Errorf("carried %q", carried)
	}

	broken := &deliver.Trace{Traceparent: "two\r\nlines"}
	wantClass(t, client.PostTraced(t.Context(), server.URL+"/inbox", doc, key, broken), deliver.Retry, "not printable ASCII")
}
