package access

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const secret = "s3cret-token"

// clocked is a guard whose time is set.
func clocked(token string) (*Guard, *time.Time) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	g := New(func() string { return token })
	g.now = func() time.Time { return now }
	return g, &now
}

func request(t *testing.T, address string) *http.Request {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = address
	return r
}

func bearer(t *testing.T, address, token string) *http.Request {
	r := request(t, address)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestGuard_ALoginHoldsAtEveryProcessWithTheSameToken(t *testing.T) {
	here, _ := clocked(secret)
	there, now := clocked(secret)
	other, _ := clocked("another")
	cookie, result := here.Login(request(t, "192.0.2.1:1"), secret)
	require.Equal(t, Known, result)
	require.True(t, cookie.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	require.False(t, cookie.Secure)
	require.NotContains(t, cookie.Value, secret)

	r := request(t, "192.0.2.9:1")
	r.AddCookie(cookie)
	who, result := there.Look(r)
	require.Equal(t, Known, result)
	require.NotEmpty(t, who.FormToken)
	require.True(t, who.MayPost(who.FormToken))
	require.False(t, who.MayPost(""))
	_, result = other.Look(r)
	require.Equal(t, Stranger, result, "another token")
	*now = now.Add(sessionFor)
	_, result = there.Look(r)
	require.Equal(t, Stranger, result, "it ends")
}

func TestGuard_TakesNoCookieThatItDidNotMake(t *testing.T) {
	g, _ := clocked(secret)
	cookie, _ := g.Login(request(t, "192.0.2.1:1"), secret)
	for i := range len(cookie.Value) {
		forged := *cookie
		changed := []byte(forged.Value)
		if changed[i] = 'A'; cookie.Value[i] == 'A' {
			changed[i] = 'Q'
		}
		forged.Value = string(changed)
		r := request(t, "192.0.2.1:1")
		r.AddCookie(&forged)
		_, result := g.Look(r)
		require.Equal(t, Stranger, result, "letter %d", i)
	}
	none, _ := clocked("")
	r := request(t, "192.0.2.1:1")
	r.AddCookie(cookie)
	_, result := none.Look(r)
	require.Equal(t, Stranger, result, "no token")
	_, result = none.Look(bearer(t, "192.0.2.1:1", ""))
	require.Equal(t, Wrong, result)
}

func TestGuard_BoundsWrongTokensByAddressAndInAll(t *testing.T) {
	g, now := clocked(secret)
	results := map[Result]int{}
	for range 1000 {
		_, result := g.Look(bearer(t, "192.0.2.1:1", "wrong"))
		results[result]++
	}
	require.Equal(t, map[Result]int{Wrong: wrongBurst, TooMany: 1000 - wrongBurst}, results)
	_, result := g.Look(bearer(t, "192.0.2.1:2", secret))
	require.Equal(t, TooMany, result, "not even the right one, from there")
	_, result = g.Look(bearer(t, "192.0.2.2:1", secret))
	require.Equal(t, Known, result, "from elsewhere")
	*now = now.Add(wrongEvery)
	_, result = g.Look(bearer(t, "192.0.2.1:3", secret))
	require.Equal(t, Known, result, "after a while")

	clear(results)
	for i := range 1000 {
		_, result := g.Look(bearer(t, net.JoinHostPort(net.IPv4(10, 0, byte(i>>8), byte(i)).String(), "1"), "wrong"))
		results[result]++
	}
	require.LessOrEqual(t, results[Wrong], allBurst)
	_, result = g.Look(bearer(t, "[2001:db8::1]:1", "wrong"))
	require.Equal(t, TooMany, result)
}

func TestGuard_CountsAnIPv6CustomerOnce(t *testing.T) {
	require.Equal(t, network("[2001:db8::1]:1"), network("[2001:db8::ffff:2]:9"))
	require.NotEqual(t, network("[2001:db8::1]:1"), network("[2001:db8:0:1::1]:1"))
	require.Equal(t, network("192.0.2.1:1"), network("[::ffff:192.0.2.1]:9"))
}

func TestGuard_SecureCookiesBehindHTTPS(t *testing.T) {
	g, _ := clocked(secret)
	r := request(t, "192.0.2.1:1")
	r.Header.Set("X-Forwarded-Proto", "https")
	cookie, _ := g.Login(r, secret)
	require.True(t, cookie.Secure)
}

func TestGuard_SealsTexts(t *testing.T) {
	g, _ := clocked(secret)
	other, _ := clocked("another")
	sealed := g.Seal("done")
	require.Equal(t, "done", g.Unseal(sealed))
	require.Empty(t, other.Unseal(sealed))
	require.Empty(t, g.Unseal("done"))
	require.Empty(t, g.Unseal(""))
}

func TestLocal_IsThisMachineByItsOwnName(t *testing.T) {
	for name, c := range map[string]struct {
		local, remote, host string
		want                bool
	}{
		"localhost":                {"127.0.0.1:9464", "127.0.0.1:5", "localhost:9464", true},
		"an address":               {"127.0.0.1:9464", "127.0.0.1:5", "127.0.0.1:9464", true},
		"IPv6":                     {"[::1]:9464", "[::1]:5", "[::1]:9464", true},
		"a name that was rebound":  {"127.0.0.1:9464", "127.0.0.1:5", "evil.example:9464", false},
		"another machine":          {"192.0.2.1:9464", "192.0.2.7:5", "localhost", false},
		"no host":                  {"127.0.0.1:9464", "127.0.0.1:5", "", false},
		"a proxy in front of this": {"127.0.0.1:9464", "127.0.0.1:5", "status.example.org", false},
	} {
		r := request(t, c.remote)
		r.Host = c.host
		local, err := net.ResolveTCPAddr("tcp", c.local)
		require.NoError(t, err)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))
		require.Equal(t, c.want, Local(r), name)
	}
}

func TestGuard_LooksAtTheCookieWhereAProxyAsksForAPasswordOfItsOwn(t *testing.T) {
	g, _ := clocked(secret)
	cookie, _ := g.Login(request(t, "192.0.2.1:1"), secret)
	r := request(t, "192.0.2.1:1")
	r.SetBasicAuth("somebody", "the proxy's password")
	_, result := g.Look(r)
	require.Equal(t, Stranger, result)
	r.AddCookie(cookie)
	_, result = g.Look(r)
	require.Equal(t, Known, result)
}

func TestLocal_IsNothingThatAProxyPassedOn(t *testing.T) {
	local := func() *http.Request {
		r := request(t, "127.0.0.1:40000")
		r.Host = "127.0.0.1:9464"
		return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9464}))
	}
	require.True(t, Local(local()))
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Via"} {
		r := local()
		r.Header.Set(name, "")
		require.False(t, Local(r), name)
	}
}
