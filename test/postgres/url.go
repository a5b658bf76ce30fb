package postgres

import (
	"crypto/rand"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// URL is a connection string over TCP; over TLS, verified in full, when that was asked for.
func (s *Server) URL(database string) string {
	return s.urlOf(database, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port())))
}

// AddressURL is the same at one of Options.Addresses.
func (s *Server) AddressURL(address netip.Addr, database string) string {
	return s.urlOf(database, net.JoinHostPort(address.String(), strconv.Itoa(s.Port())))
}

// URLs is a connection string that names all the servers, which must be replicas of one another. It says nothing about
// which of them is wanted.
func URLs(database string, servers ...*Server) string {
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port())))
	}
	return servers[0].urlOf(database, strings.Join(hosts, ","))
}

func (s *Server) urlOf(database, host string) string {
	query := url.Values{"sslmode": {"disable"}}
	if s.options.TLS {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CAFile()}}
	}
	u := url.URL{Scheme: "postgres", User: s.user(), Host: host, Path: "/" + database, RawQuery: query.Encode()}
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
