// Package access decides who may read and who may act on the admin address.
//
// It promises that nobody acts without the token, that tokens can't be tried out quickly, and that a login made at one
// process holds at every other with the same token: nothing of it is kept in memory.
package access

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	// cookieName has no __Host- in front, because a browser takes that with HTTPS only.
	cookieName = "fedsender_session"
	// sessionFor is a working day: longer is convenient for who finds the browser open.
	sessionFor = 12 * time.Hour
)

// Guard knows the token. Its methods are safe for several goroutines.
type Guard struct {
	token    func() string
	attempts *attempts
	now      func() time.Time
}

// New makes a guard. The token is asked for with each request, because it may change; nil or an empty one: nobody may act.
func New(token func() string) *Guard {
	if token == nil {
		token = func() string { return "" }
	}
	return &Guard{token: token, attempts: newAttempts(), now: time.Now}
}

// HasToken tells that there is one, so that reading needs it too.
func (g *Guard) HasToken() bool { return g.token() != "" }

// Who is somebody that has shown the token.
type Who struct {
	// Name is for the log: it tells sessions from each other and opens nothing.
	Name string
	// FormToken is what a form of this session must carry; empty: the request carried the token itself, which no other
	// site can make a browser do.
	FormToken string
}

// Result is what came of a look at a request.
type Result int

const (
	// Stranger has shown nothing, or a session that is over.
	Stranger Result = iota
	// Wrong has shown a wrong token.
	Wrong
	// TooMany has shown wrong ones too often to be looked at: try again in a few seconds.
	TooMany
	// Known has shown the token or a session.
	Known
)

// Look finds out who asks, by a bearer token (RFC 6750, 2.1) or by the cookie of a login. Another scheme is for a proxy in
// front, which browsers answer with each request.
func (g *Guard) Look(r *http.Request) (Who, Result) {
	if scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return Who{Name: "bearer token"}, g.try(r, strings.TrimSpace(shown))
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return Who{}, Stranger
	}
	return g.session(cookie.Value)
}

// try compares a token. Hashes are compared, so that the time taken tells neither the token's bytes nor its length.
func (g *Guard) try(r *http.Request, shown string) Result {
	return g.attempts.try(r.RemoteAddr, g.now(), func() bool {
		token := g.token()
		want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(shown))
		return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && token != ""
	})
}

// Login opens a session where the token is right: the cookie to answer with.
func (g *Guard) Login(r *http.Request, shown string) (*http.Cookie, Result) {
	if result := g.try(r, shown); result != Known {
		return nil, result
	}
	body := binary.BigEndian.AppendUint64(nil, uint64(g.now().Add(sessionFor).Unix()))
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	body = append(body, nonce...)
	value := base64.RawURLEncoding.EncodeToString(append(body, g.sign("session", body)...))
	return g.cookie(r, value, int(sessionFor/time.Second)), Known
}

// Logout is the cookie that makes a browser forget its session.
func (g *Guard) Logout(r *http.Request) *http.Cookie { return g.cookie(r, "", -1) }

func (g *Guard) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: IsSecure(r),
	}
}

// IsSecure tells that the browser uses HTTPS, here or to the proxy in front.
func IsSecure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// sessionBytes are the end of the session, its nonce and the signature of both.
const sessionBytes = 8 + 16 + sha256.Size

func (g *Guard) session(value string) (Who, Result) {
	if g.token() == "" || len(value) > 2*sessionBytes {
		return Who{}, Stranger
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) != sessionBytes {
		return Who{}, Stranger
	}
	body, signature := raw[:sessionBytes-sha256.Size], raw[sessionBytes-sha256.Size:]
	if !hmac.Equal(signature, g.sign("session", body)) {
		return Who{}, Stranger
	}
	if end := int64(binary.BigEndian.Uint64(body)); g.now().Unix() >= end {
		return Who{}, Stranger
	}
	named := sha256.Sum256(body)
	return Who{
		Name:      "session " + base64.RawURLEncoding.EncodeToString(named[:6]),
		FormToken: base64.RawURLEncoding.EncodeToString(g.sign("form", body)),
	}, Known
}

// MayPost tells that a form comes from a page of this session.
func (w Who) MayPost(formToken string) bool {
	return w.FormToken == "" || subtle.ConstantTimeCompare([]byte(w.FormToken), []byte(formToken)) == 1
}

// Seal makes a text for a cookie that only a holder of the token can have made.
func (g *Guard) Seal(text string) string {
	return base64.RawURLEncoding.EncodeToString(append(g.sign("text", []byte(text)), text...))
}

// Unseal returns the text of Seal; empty: it is none.
func (g *Guard) Unseal(sealed string) string {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(raw) < sha256.Size || !hmac.Equal(raw[:sha256.Size], g.sign("text", raw[sha256.Size:])) {
		return ""
	}
	return string(raw[sha256.Size:])
}

// sign makes a signature for one purpose. Whoever changes the token ends all sessions.
func (g *Guard) sign(purpose string, body []byte) []byte {
	key, err := hkdf.Key(sha256.New, []byte(g.token()), nil, "fedsender admin "+purpose+" v1", sha256.Size)
	if err != nil {
		panic(err) // a length that SHA-256 can't have
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)
}

// Local tells that a request comes from this machine and names it as such. The name counts because any site can have its own
// name resolve to 127.0.0.1 and have a browser here read what that answers. What a proxy on this machine passes on may come
// from anywhere; one that does not say that it is a proxy can't be told.
func Local(r *http.Request) bool {
	if isForwarded(r.Header) {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && isLoopback(local.String()) && isLoopback(r.RemoteAddr) && isLocalName(r.Host)
}

// isForwarded tells that a proxy says of itself that it passed a request on.
func isForwarded(h http.Header) bool {
	for name := range h {
		switch {
		case name == "Forwarded", name == "Via", name == "X-Real-Ip", strings.HasPrefix(name, "X-Forwarded-"):
			return true
		}
	}
	return false
}

func isLoopback(hostPort string) bool {
	addr, err := netip.ParseAddrPort(hostPort)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
