package receiver_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/test/bench/peers"
	"github.com/fedsender/fedsender/test/bench/receiver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const keyID = "https://home.example/u/0#main-key"

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a receiver, and makes posters that sign with a key that it knows.
func start(t *testing.T) (receiver.Client, func(scheme, keyID string) *peers.Poster) {
	t.Helper()
	in, end := io.Pipe()
	told, out := io.Pipe()
	var group conc.WaitGroup
	group.Go(func() {
		if err := receiver.Run(in, out); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ok(t, end.Close())
		group.Wait()
	})
	var client receiver.Client
	ok(t, json.NewDecoder(told).Decode(&client.Addresses))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ok(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	ok(t, err)
	file := filepath.Join(t.TempDir(), "key.pem")
	ok(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	ok(t, client.AddKey(t.Context(), keyID, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	return client, func(scheme, id string) *peers.Poster {
		poster, err := peers.NewPoster(peers.Settings{ConnectTo: client.Address(scheme), CAFile: client.CAFile, KeyFile: file, KeyID: id, Workers: 2})
		ok(t, err)
		t.Cleanup(poster.Close)
		return poster
	}
}

func TestReceiver_CountsAllAndChecksASample(t *testing.T) {
	client, poster := start(t)
	document := peers.NewDocument(peers.Activity("https://home.example/a/1"))
	for _, scheme := range []string{"http", "https"} {
		ok(t, client.Reset(t.Context(), 3, 0))
		p := poster(scheme, keyID)
		var group conc.WaitGroup
		group.Go(func() {
			for n := range 9 {
				ok(t, p.Post(t.Context(), fmt.Sprintf("%s://i-%d.example/inbox", scheme, n), document))
			}
		})
		state, err := client.Wait(t.Context(), 9)
		ok(t, err)
		group.Wait()
		if state.Count != 9 || state.Checked != 3 || state.Refused != 0 || time.Since(state.Last) > time.Minute {
			t.Errorf("%s: %+v", scheme, state)
		}
	}
}

func TestReceiver_RefusesWhatIsNotSignedByAKnownKey(t *testing.T) {
	client, poster := start(t)
	ok(t, client.Reset(t.Context(), 1, 0))
	document := peers.NewDocument(peers.Activity("https://home.example/a/1"))
	if err := poster("http", keyID+"2").Post(t.Context(), "http://i-1.example/inbox", document); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a key that nobody knows: %v", err)
	}
	// The signature of one request is no good at another host, nor its digest for another body.
	request := signedFor(t, poster("http", keyID), document)
	for what, change := range map[string]func(*http.Request){
		"as it was":    func(*http.Request) {},
		"host":         func(r *http.Request) { r.Host = "other.example" },
		"body":         func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2 },
		"date":         func(r *http.Request) { r.Header.Set("Date", time.Now().Add(time.Second).UTC().Format(http.TimeFormat)) },
		"another form": func(r *http.Request) { r.Header.Set("Signature-Input", "sig1=()") },
		"no signature": func(r *http.Request) { r.Header.Del("Signature") },
	} {
		again := request.Clone(t.Context())
		again.URL.Host, again.Host = client.Plain, request.Host
		again.Body, _ = request.GetBody()
		change(again)
		response, err := http.DefaultClient.Do(again)
		ok(t, err)
		ok(t, response.Body.Close())
		if taken := response.StatusCode == http.StatusAccepted; taken != (what == "as it was") {
			t.Errorf("%s: %s", what, response.Status)
		}
	}
}

// signedFor is a request as the poster makes it.
func signedFor(t *testing.T, poster *peers.Poster, document *peers.Document) *http.Request {
	t.Helper()
	request, err := poster.Request(t.Context(), "http://i-1.example/inbox", document)
	ok(t, err)
	return request
}

func TestReceiver_AnswersLateAndNotesArrivals(t *testing.T) {
	client, poster := start(t)
	const delay = 30 * time.Millisecond
	ok(t, client.Reset(t.Context(), 0, delay))
	began := time.Now()
	ok(t, poster("http", keyID).Post(t.Context(), "http://i-1.example/timed/7", peers.NewDocument([]byte("{}"))))
	took := time.Since(began)
	times, err := client.Timed(t.Context())
	ok(t, err)
	if took < delay || times["/timed/7"].Before(began.Add(-time.Second)) || times["/timed/7"].After(began.Add(took)) {
		t.Errorf("took %s, arrived %s after it began", took, times["/timed/7"].Sub(began))
	}
}

func TestReceiver_WaitEndsWithItsCaller(t *testing.T) {
	client, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if state, err := client.Wait(ctx, 1); err == nil {
		t.Errorf("nothing came, and it says %+v", state)
	}
}
