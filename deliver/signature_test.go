package deliver_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-fed/httpsig"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
)

var signatureForm = regexp.MustCompile(
	`^keyId="([^"]+)",algorithm="rsa-sha256",headers="\(request-target\) host date digest",signature="([A-Za-z0-9+/]+=*)"$`)

// verify checks a request as strict receivers do, once with an independent library and once byte by byte.
func verify(r *http.Request, public *rsa.PublicKey) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if want := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:]); r.Header.Get("Digest") != want {
		return fmt.Errorf("digest %q, want %q", r.Header.Get("Digest"), want)
	}
	parts := signatureForm.FindStringSubmatch(r.Header.Get("Signature"))
	if parts == nil {
		return fmt.Errorf("form of %q", r.Header.Get("Signature"))
	}
	message := "(request-target): post " + r.RequestURI + "\nhost: " + r.Host + "\ndate: " + r.Header.Get("Date") + "\ndigest: " + r.Header.Get("Digest")
	signature, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(message))
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, hash[:], signature); err != nil {
		return err
	}
	r.Header.Set("Host", r.Host)
	r.URL.Path, r.URL.RawQuery = r.RequestURI, "" // the library would sign the decoded path
	verifier, err := httpsig.NewVerifier(r)
	if err != nil {
		return err
	}
	if verifier.KeyId() != keyID {
		return fmt.Errorf("key id %q", verifier.KeyId())
	}
	return verifier.Verify(public, httpsig.RSA_SHA256)
}

func TestPost_SignsWhatIsOnTheWireSoThatStrictReceiversAcceptIt(t *testing.T) {
	var got atomic.Pointer[http.Request]
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := verify(r, &rsaKey().PublicKey); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		got.Store(r)
		w.WriteHeader(http.StatusAccepted)
	})
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	plain := httptest.NewServer(handler)
	defer plain.Close()
	now := time.Date(2026, 11, 2, 9, 5, 7, 999_999_999, time.FixedZone("", 3600))
	overTLS := deliver.Config{ConnectTo: secure.Listener.Addr().String(), CAFile: caFile(t, secure), Now: func() time.Time { return now }, UserAgent: "test/1 (+https://x.example)"}
	overHTTP := overTLS
	overHTTP.ConnectTo = plain.Listener.Addr().String()
	overHTTP.AllowHTTP = true
	for _, c := range []struct {
		config           deliver.Config
		inbox, host, uri string
	}{
		{overTLS, "https://example.com/inbox", "example.com", "/inbox"},
		{overTLS, "https://EXAMPLE.com:443/inbox?a=b&c=%20d#frag", "example.com", "/inbox?a=b&c=%20d"},
		{overTLS, "https://example.com", "example.com", "/"},
		{overTLS, "https://example.com/inbox?", "example.com", "/inbox?"},
		{overHTTP, "https://example.com:8443/inbox", "", ""},
		{overHTTP, "http://example.com:8080/users/%C3%A9/inbox", "example.com:8080", "/users/%C3%A9/inbox"},
		{overHTTP, "http://BÜCHER.example:80/i n?q=ä b", "xn--bcher-kva.example", "/i%20n?q=%C3%A4%20b"},
		{overHTTP, "http://[2606:4700::1]/inbox", "[2606:4700::1]", "/inbox"},
	} {
		out := post(t, c.config, c.inbox)
		if c.host == "" {
			wantClass(t, out, deliver.Retry) // https to a plain port
			continue
		}
		wantClass(t, out, deliver.Delivered)
		r := got.Load()
		if r.Host != c.host || r.RequestURI != c.uri || r.Proto != "HTTP/1.1" {
			t.Errorf("%s: got %s %s %s", c.inbox, r.Proto, r.Host, r.RequestURI)
		}
		if date := r.Header.Get("Date"); date != "Mon, 02 Nov 2026 08:05:07 GMT" {
			t.Errorf("the date %s is not the second cut off", date)
		}
		want := map[string]string{"Content-Type": "application/activity+json", "User-Agent": "test/1 (+https://x.example)", "Content-Length": "17"}
		for name, value := range want {
			if r.Header.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, r.Header.Get(name), value)
			}
		}
		for _, name := range []string{"Accept-Encoding", "Idempotency-Key", "X-Fedsender-Process"} {
			if _, sent := r.Header[name]; sent {
				t.Errorf("%s was sent", name)
			}
		}
	}
}

// countingSigner counts what it signs, and fails when told to.
type countingSigner struct {
	deliver.Signer
	count atomic.Int32
	fail  error
}

func (s *countingSigner) Sign(ctx context.Context, r sign.Request) ([]byte, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	signature, err := s.Signer.Sign(ctx, r)
	if err == nil {
		s.count.Add(1)
	}
	return signature, err
}

func TestPost_HostThatCannotBeReachedCostsNoSignature(t *testing.T) {
	server, config := newServer(t, func(http.ResponseWriter, *http.Request) {})
	server.Close()
	signer := &countingSigner{Signer: sign.NewStage(sign.Go{}, 1, nil)}
	config.Signer = signer
	wantClass(t, post(t, config, server.URL+"/inbox"), deliver.Retry, "refused")
	if n := signer.count.Load(); n != 0 {
		t.Errorf("signed %d times", n)
	}
}

func TestPost_NothingUnsignedLeavesWhenTheSignerFails(t *testing.T) {
	var requests atomic.Int32
	server, config := newServer(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	config.Signer = &countingSigner{fail: errors.New("the card was pulled out")}
	wantClass(t, post(t, config, server.URL+"/inbox"), deliver.Retry, "the card was pulled out")
	server.Close() // waits for requests
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestPost_SenderNameIsSentForTestsThatAskForIt(t *testing.T) {
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Fedsender-Process") != "one" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	config.SenderName = "one"
	wantClass(t, post(t, config, server.URL), deliver.Delivered)
}

func TestNewClient_NamesTheSettingThatIsWrong(t *testing.T) {
	for _, c := range []struct {
		config deliver.Config
		name   string
	}{
		{deliver.Config{UserAgent: "a\r\nb"}, "SENDER_USER_AGENT"},
		{deliver.Config{SenderName: "ä"}, "SENDER_NAME"},
		{deliver.Config{ConnectTo: "localhost"}, "SENDER_CONNECT_TO"},
		{deliver.Config{CAFile: "/nonexistent"}, "SENDER_CA_FILE"},
		{deliver.Config{CAFile: "signature_test.go"}, "SENDER_CA_FILE"},
	} {
		if _, err := deliver.NewClient(c.config); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

var inputForm = regexp.MustCompile(`^sig1=(\("@method" "@target-uri" "content-digest"\);created=([0-9]+);keyid="([^"]+)";alg="ed25519")$`)

func TestPost_Ed25519KeySignsInTheFormOfRFC9421(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := deliver.ParseKey(keyID, pkcs8(t, private))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 2, 9, 5, 7, 999_999_999, time.UTC)
	check := func(r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		if want := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"; r.Header.Get("Content-Digest") != want {
			return fmt.Errorf("content digest %q, want %q", r.Header.Get("Content-Digest"), want)
		}
		input := inputForm.FindStringSubmatch(r.Header.Get("Signature-Input"))
		if input == nil {
			return fmt.Errorf("form of %q", r.Header.Get("Signature-Input"))
		}
		if input[2] != strconv.FormatInt(now.Unix(), 10) || input[3] != keyID || r.Header.Get("Date") != "Mon, 02 Nov 2026 09:05:07 GMT" {
			return fmt.Errorf("input %q, date %q", input, r.Header.Get("Date"))
		}
		text, ok := strings.CutPrefix(r.Header.Get("Signature"), "sig1=:")
		text, closed := strings.CutSuffix(text, ":")
		signature, err := base64.StdEncoding.Strict().DecodeString(text)
		if !ok || !closed || err != nil {
			return fmt.Errorf("form of %q", r.Header.Get("Signature"))
		}
		base := "\"@method\": " + r.Method + "\n\"@target-uri\": https://" + r.Host + r.RequestURI +
			"\n\"content-digest\": " + r.Header.Get("Content-Digest") + "\n\"@signature-params\": " + input[1]
		if !ed25519.Verify(public, []byte(base), signature) {
			return errors.New("the signature is wrong")
		}
		return nil
	}
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if err := check(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	config.Now = func() time.Time { return now }
	client := newClient(t, config)
	for _, path := range []string{"/inbox", "", "/users/%C3%A9/inbox?a=b&c=%20d"} {
		out := client.Post(t.Context(), server.URL+path, newDocument(t, `{"type":"Create"}`), key)
		wantClass(t, out, deliver.Delivered)
	}
}

func TestPost_DateIsOfTheMomentWhenTheSignatureWasMade(t *testing.T) {
	var second atomic.Int64
	start := time.Date(2026, 11, 2, 9, 5, 7, 0, time.UTC)
	server, config := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if err := verify(r, &rsaKey().PublicKey); err != nil || r.Header.Get("Date") != "Mon, 02 Nov 2026 09:05:27 GMT" {
			http.Error(w, fmt.Sprint(err, r.Header.Get("Date")), http.StatusBadRequest)
		}
	})
	config.Now = func() time.Time { return start.Add(time.Duration(second.Load()) * time.Second) }
	config.Signer = lateSigner{sign.NewStage(sign.Go{}, 1, nil), func() { second.Store(20) }}
	wantClass(t, post(t, config, server.URL+"/inbox"), deliver.Delivered)
}

// lateSigner has time pass before the signature's turn comes.
type lateSigner struct {
	deliver.Signer
	pass func()
}

func (s lateSigner) Sign(ctx context.Context, r sign.Request) ([]byte, error) {
	s.pass()
	return s.Signer.Sign(ctx, r)
}

func TestPost_ShutGateCostsNoSignature(t *testing.T) {
	var requests atomic.Int32
	server, config := newServer(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	var g gated
	var made atomic.Int32
	stage := sign.NewStage(sign.Go{}, 1, func(time.Duration) { made.Add(1) })
	config.Signer = lateSigner{stage, func() { g.shut.Store(1) }}
	out := newClient(t, config).Post(g.under(t), server.URL+"/inbox", newDocument(t, `{}`), newKey(t))
	wantClass(t, out, deliver.Canceled)
	server.Close()
	if requests.Load() != 0 || made.Load() != 0 {
		t.Errorf("%d signatures and %d requests after the gate was shut", made.Load(), requests.Load())
	}
}
