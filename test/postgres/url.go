package postgres

import (
	"crypto/rand"
	"net"
	"net/url"
	"strconv"
)

// URL is a connection string over TCP; over TLS, verified in full, when that was asked for.
func (s *Server) URL(database string) string {
	query := url.Values{"sslmode": {"disable"}}
	if s.options.TLS {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CAFile()}}
	}
	u := url.URL{Scheme: "postgres", User: s.user(), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port())), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

// SocketURL is a connection string over the Unix socket.
func (s *Server) SocketURL(database string) string { return s.socketURL(database, s.Port()) }

func (s *Server) socketURL(database string, port int) string {
	query := url.Values{"host": {s.SocketDir()}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: s.user(), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

func (s *Server) user() *url.Userinfo {
	if s.password == "" {
		return url.User(superuser)
	}
	return url.UserPassword(superuser, s.password)
}

// newPassword holds every character that a careless URL builder trips over.
func newPassword() string { return "p%41@/:?#&=+ '\"\\" + rand.Text()[:8] }
