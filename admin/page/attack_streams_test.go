package page_test

import (
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stall opens a live page and reads nothing of it.
func (s *server) stall(t *testing.T, of string) net.Conn {
	t.Helper()
	at, err := url.Parse(s.url)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", at.Host)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096)) // what is unread stays at the server
	request := "GET /events?of=" + url.QueryEscape(of) + " HTTP/1.1\r\nHost: " + at.Host + "\r\n"
	for _, cookie := range s.client.Jar.Cookies(at) {
		request += "Cookie: " + cookie.String() + "\r\n"
	}
	_, err = io.WriteString(conn, request+"\r\n")
	require.NoError(t, err)
	return conn
}

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func TestAttack_LivePagesThatNobodyReadsAreDropped(t *testing.T) {
	t.Parallel()
	s := serve(t, token)
	s.signIn(t)
	const pages = 64
	open := func() int {
		stacks := make([]byte, 4<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), ".(*Page).serveEvents(")
	}
	full := func() bool { return s.get(t, "/events?of=/nothing").status == 503 }
	before := heap()
	for range pages {
		defer s.stall(t, "/instances?sort=lag").Close() // 50 kB, of which something changes with each look
	}
	began := time.Now()
	require.Eventually(t, func() bool { return open() == pages && full() }, 10*time.Second, 100*time.Millisecond)
	var most int64
	var slowest time.Duration
	require.Eventually(t, func() bool {
		asked := time.Now()
		require.Equal(t, 200, s.get(t, "/processes").status, "others are served")
		slowest, most = max(slowest, time.Since(asked)), max(most, heap())
		return open() == 0
	}, time.Minute, time.Second, "they are dropped")
	took := time.Since(began)
	require.False(t, full(), "their places are free")
	show(t, []attack{{"64 live pages that are never read", "dropped after " + took.Round(time.Second).String()}})
	t.Logf("heap %d kB more at most, the slowest other page took %s", (most-before)/1000, slowest.Round(time.Millisecond))
	require.Less(t, most-before, int64(64<<20))
}
