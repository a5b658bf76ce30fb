package fediverse_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
)

func TestFediverse_TakesWhatTheSenderSends(t *testing.T) {
	f := start(t, fediverse.Config{})
	s := newSender(t, f, "one")
	inboxes := []string{
		"https://toad.example/inbox", "http://toad.example/inbox", "https://frog.example/users/a%20b/inbox?x=1&y=%2F",
		"https://bücher.example/inbox", "https://TOAD.example:443/inbox", "https://toad.example:8443/inbox",
		"http://toad.example:8080/", "https://127.0.0.9/inbox",
	}
	for i, inbox := range inboxes {
		if strings.Contains(inbox, "127.0.0.9") {
			continue // the guard of the sender is tested elsewhere
		}
		s.wantPost(inbox, id(i), http.StatusAccepted)
	}
	wantNoViolations(t, f)
	wantEqual(t, "accepted", f.Ledger().Accepted(""), len(inboxes)-1)
	wantEqual(t, "of toad.example", f.Ledger().Accepted("toad.example"), 3)
	got := f.Ledger().Deliveries("frog.example")[0]
	if got.Path != "/users/a%20b/inbox?x=1&y=%2F" || got.Process != "one" || got.Activity != id(2) || got.Status != 202 || !got.Ended.After(got.Arrived) {
		t.Errorf("the ledger says %+v", got)
	}
	wantEqual(t, "domains", strings.Join(f.Ledger().Domains(), " "), "frog.example toad.example toad.example:8080 toad.example:8443 xn--bcher-kva.example")
}

// request is one that is right in everything, to be spoilt.
type request struct {
	host, sni, date, body, digest, path, signedPath string

	keyID, algorithm, headers, parameters string
	header                                http.Header
	key                                   *rsa.PrivateKey
}

func rightRequest() *request {
	return &request{
		host: "toad.example", sni: "toad.example", path: "/inbox", body: `{"id":"https://sender.example/1"}`,
		date:  time.Now().UTC().Format(http.TimeFormat),
		keyID: keyID, algorithm: "rsa-sha256", headers: "(request-target) host date digest",
		parameters: `keyId="%k",algorithm="%a",headers="%h",signature="%s"`,
		header:     http.Header{"Content-Type": {"application/activity+json"}, "User-Agent": {"test/1"}},
		key:        rsaKey(),
	}
}

func sha256Of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// raw signs what the request says, which is not always what it ought to.
func (r *request) raw(t testing.TB) []byte {
	t.Helper()
	if r.digest == "" {
		r.digest = "SHA-256=" + sha256Of(r.body)
	}
	values := map[string]string{
		"(request-target)": "post " + r.path, "host": r.host, "date": r.date, "digest": r.digest,
		"content-type": r.header.Get("Content-Type"), "(created)": "1",
	}
	if r.signedPath != "" {
		values["(request-target)"] = "post " + r.signedPath
	}
	var lines []string
	for _, name := range strings.Fields(r.headers) {
		lines = append(lines, name+": "+values[name])
	}
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	signature, err := rsa.SignPKCS1v15(rand.Reader, r.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	parameters := strings.NewReplacer("%k", r.keyID, "%a", r.algorithm, "%h", r.headers, "%s", base64.StdEncoding.EncodeToString(signature)).Replace(r.parameters)
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nSignature: %s\r\nDigest: %s\r\n", r.path, r.host, len(r.body), parameters, r.digest)
	if r.date != "" {
		fmt.Fprintf(&raw, "Date: %s\r\n", r.date)
	}
	if err := r.header.Write(&raw); err != nil {
		t.Fatal(err)
	}
	raw.WriteString("\r\n" + r.body)
	return raw.Bytes()
}

// send returns the answer's status and body.
func (r *request) send(t *testing.T, f *fediverse.Fediverse) (status int, text string) {
	t.Helper()
	r.header.Set("Connection", "close")
	return exchange(t, f, r.sni, r.raw(t))
}

func exchange(t *testing.T, f *fediverse.Fediverse, sni string, raw []byte) (status int, text string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(f.CAPEM()))
	conn, err := net.Dial("tcp", f.Addr())
	if err == nil && sni != "" {
		conn = tls.Client(conn, &tls.Config{ServerName: sni, RootCAs: roots})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(raw); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status); err != nil {
		t.Fatalf("the answer is %q", answer)
	}
	_, text, _ = strings.Cut(string(answer), "\r\n\r\n")
	return status, text
}

func TestFediverse_RefusesEachDeviation(t *testing.T) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	cases := []struct {
		name, reason string
		status       int
		spoil        func(*request)
	}{
		{"nothing", "", 202, func(*request) {}},
		{"a date of this very second", "", 202, func(r *request) { r.date = at(0) }},
		{"a date 29 s old", "", 202, func(r *request) { r.date = at(-28 * time.Second) }},
		{"plain HTTP", "", 202, func(r *request) { r.sni = "" }},

		{"another body", "Digest is not", 401, func(r *request) { r.digest = "SHA-256=" + sha256Of("other") }},
		{"a digest in lower case", "Digest is not", 401, func(r *request) { r.digest = "sha-256=" + sha256Of(r.body) }},
		{"a digest without padding", "Digest is not", 401, func(r *request) { r.digest = "SHA-256=" + strings.TrimRight(sha256Of(r.body), "=") }},
		{"a date ahead", "ahead", 401, func(r *request) { r.date = at(2 * time.Second) }},
		{"a date 32 s old", "older", 401, func(r *request) { r.date = at(-32 * time.Second) }},
		{"a date of another form", "RFC 9110", 401, func(r *request) { r.date = time.Now().UTC().Format(time.RFC1123Z) }},
		{"a day of one digit", "RFC 9110", 401, func(r *request) { r.date = "Mon, 2 Nov 2026 09:05:07 GMT" }},
		{"no date", "exactly once", 401, func(r *request) { r.date = "" }},
		{"host not signed", "in this order", 401, func(r *request) { r.headers = "(request-target) date digest" }},
		{"digest not signed", "in this order", 401, func(r *request) { r.headers = "(request-target) host date" }},
		{"more signed than asked", "in this order", 401, func(r *request) { r.headers += " content-type" }},
		{"headers in another order", "in this order", 401, func(r *request) { r.headers = "host date digest (request-target)" }},
		{"hs2019", "in this order", 401, func(r *request) { r.algorithm = "hs2019" }},
		{"no algorithm", "in this order", 401, func(r *request) { r.parameters = `keyId="%k",headers="%h",signature="%s"` }},
		{"parameters in another order", "in this order", 401, func(r *request) { r.parameters = `keyId="%k",headers="%h",algorithm="%a",signature="%s"` }},
		{"blanks after commas", "in this order", 401, func(r *request) { r.parameters = strings.ReplaceAll(r.parameters, ",", ", ") }},
		{"created besides", "in this order", 401, func(r *request) { r.parameters += `,created=1` }},
		{"the prefix of Authorization", "in this order", 401, func(r *request) { r.parameters = "Signature " + r.parameters }},
		{"another key", "signature is wrong", 401, func(r *request) { r.key = stranger }},
		{"an unknown key", "no key is known", 401, func(r *request) { r.keyID = "https://sender.example/users/bob#main-key" }},
		{"another path", "signature is wrong", 401, func(r *request) { r.signedPath = "/elsewhere" }},
		{"the query not signed", "signature is wrong", 401, func(r *request) { r.path, r.signedPath = "/inbox?a=b", "/inbox" }},
		{"a host in capitals", "lower case", 401, func(r *request) { r.host = "Toad.example" }},
		{"a host with the default port", "default port", 401, func(r *request) { r.host = "toad.example:443" }},
		{"a host that is not the name of TLS", "TLS handshake", 401, func(r *request) { r.sni = "frog.example" }},
		{"another content type", "Content-Type", 401, func(r *request) { r.header.Set("Content-Type", "application/json") }},
		{"a library's user agent", "User-Agent", 401, func(r *request) { r.header.Set("User-Agent", "Go-http-client/1.1") }},
		{"no user agent", "User-Agent", 401, func(r *request) { r.header.Del("User-Agent") }},
		{"another signature besides", "Authorization", 401, func(r *request) { r.header.Set("Authorization", "Signature x") }},
		{"a body without an id", "JSON object with an id", 400, func(r *request) { r.body = `{"type":"Create"}` }},
		{"a body that is no JSON", "JSON object with an id", 400, func(r *request) { r.body = `id` }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, fediverse.Config{})
			r := rightRequest()
			c.spoil(r)
			status, text := r.send(t, f)
			wantEqual(t, "status", status, c.status)
			first, count := f.Ledger().Violations()
			if c.reason == "" {
				wantNoViolations(t, f)
				return
			}
			if count != 1 || !strings.Contains(first[0].Reason, c.reason) || text != first[0].Reason {
				t.Errorf("violations %v, answer %q, want one that says %q", first, text, c.reason)
			}
			wantEqual(t, "accepted", f.Ledger().Accepted(""), 0)
		})
	}
}

func TestFediverse_ChecksOneSignatureInSoMany(t *testing.T) {
	f := start(t, fediverse.Config{VerifyEvery: 3})
	refused := 0
	for range 9 {
		r := rightRequest()
		r.signedPath = "/elsewhere"
		if status, _ := r.send(t, f); status == 401 {
			refused++
		}
	}
	wantEqual(t, "refused", refused, 3)
}

func TestFediverse_RefusesABodyThatIsTooLong(t *testing.T) {
	f := start(t, fediverse.Config{MaxBody: 100})
	r := rightRequest()
	r.body = `{"id":"https://sender.example/1","content":"` + strings.Repeat("x", 100) + `"}`
	status, _ := r.send(t, f)
	wantEqual(t, "status", status, http.StatusRequestEntityTooLarge)
	wantNoViolations(t, f)
}

func TestRegisterPEM_TakesPublicKeysOnly(t *testing.T) {
	f := start(t, fediverse.Config{})
	spki, err := x509.MarshalPKIXPublicKey(&rsaKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for kind, der := range map[string][]byte{"PUBLIC KEY": spki, "RSA PUBLIC KEY": x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)} {
		if err := f.RegisterPEM(kind, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		r := rightRequest()
		r.keyID = kind
		status, text := r.send(t, f)
		wantEqual(t, kind+" "+text, status, 202)
	}
	for _, text := range []string{"", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if err := f.RegisterPEM("bad", text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestFediverse_AllowsForClocksThatAreWrong(t *testing.T) {
	f := start(t, fediverse.Config{DateWithin: 2 * time.Hour})
	f.Register(keyID, &rsaKey().PublicKey)
	for away, want := range map[time.Duration]int{
		-time.Hour: http.StatusAccepted, time.Hour: http.StatusAccepted, -3 * time.Hour: http.StatusUnauthorized, 3 * time.Hour: http.StatusUnauthorized,
	} {
		r := rightRequest()
		r.date = time.Now().Add(away).UTC().Format(http.TimeFormat)
		status, _ := r.send(t, f)
		wantEqual(t, away.String(), status, want)
	}
}

func TestFediverse_TellsConnectionsApart(t *testing.T) {
	f := start(t, fediverse.Config{})
	s := newSender(t, f, "one")
	for i, inbox := range []string{"https://toad.example/inbox", "https://toad.example/inbox", "https://frog.example/inbox"} {
		s.wantPost(inbox, id(i), http.StatusAccepted)
	}
	d := f.Ledger().Deliveries("")
	if d[0].Connection == 0 || d[0].Connection != d[1].Connection || d[1].Connection == d[2].Connection {
		t.Errorf("connections %d, %d, %d", d[0].Connection, d[1].Connection, d[2].Connection)
	}
}
