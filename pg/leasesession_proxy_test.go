package pg_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// link is a network between one client and the server that a test can cut or block.
type link struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	blocked  chan struct{} // closed when the link passes bytes
	conns    []net.Conn
	work     sync.WaitGroup
}

// newLink points config at itself.
func newLink(t *testing.T, config *pgx.ConnConfig) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, to := pgconn.NetworkAddress(config.Host, config.Port)
	l := &link{listener: listener, to: to, blocked: make(chan struct{})}
	close(l.blocked)
	l.work.Go(l.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
		l.unblock()
		l.work.Wait()
	})
	redirect(config, listener.Addr())
	return l
}

func redirect(config *pgx.ConnConfig, addr net.Addr) {
	config.Host, config.Port = "127.0.0.1", uint16(addr.(*net.TCPAddr).Port)
	config.TLSConfig, config.Fallbacks = nil, nil
}

func (l *link) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, client, server)
		l.mu.Unlock()
		l.work.Go(func() { l.pass(server, client) })
		l.work.Go(func() { l.pass(client, server) })
	}
}

func (l *link) pass(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		l.mu.Lock()
		open := l.blocked
		l.mu.Unlock()
		<-open
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// cut resets every connection at both ends.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// block makes the link swallow what is sent.
func (l *link) block() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = make(chan struct{})
}

func (l *link) unblock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.blocked:
	default:
		close(l.blocked)
	}
}

// pooler gives each client a server connection for one transaction, or for as long as it stays. Like PgBouncer it
// takes the one that was used last.
type pooler struct {
	t          *testing.T
	listener   net.Listener
	config     *pgx.ConnConfig
	perSession bool
	mu         sync.Mutex
	age        int    // how often change was called
	refused    string // a setting that its server does not know; empty: it knows all
	idle       []*pgconn.HijackedConn
	clients    []net.Conn
	work       sync.WaitGroup
}

// newPooler points config at itself.
func newPooler(t *testing.T, config *pgx.ConnConfig, perSession bool) *pooler {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &pooler{t: t, listener: listener, config: config.Copy(), perSession: perSession}
	p.work.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for _, client := range p.clients {
			_ = client.Close()
		}
		p.mu.Unlock()
		p.work.Wait()
		for _, server := range p.idle {
			_ = server.Conn.Close()
		}
	})
	redirect(config, listener.Addr())
	return p
}

// change gives each client another server connection with its next statement.
func (p *pooler) change() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.age++
}

// refuse has the server not know a setting.
func (p *pooler) refuse(setting string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = setting
}

// rename has a statement that makes the setting make one of another name.
func (p *pooler) rename(message pgproto3.FrontendMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused == "" {
		return
	}
	switch m := message.(type) {
	case *pgproto3.Parse:
		m.Query = strings.ReplaceAll(m.Query, p.refused, "no_such_setting")
	case *pgproto3.Query:
		m.String = strings.ReplaceAll(m.String, p.refused, "no_such_setting")
	}
}

func (p *pooler) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.clients = append(p.clients, client)
		p.mu.Unlock()
		p.work.Go(func() {
			defer client.Close()
			p.client(pgproto3.NewBackend(client, client))
		})
	}
}

// take returns a server connection for a client that has one of that age, or none.
func (p *pooler) take(old *pgconn.HijackedConn, age int) (*pgconn.HijackedConn, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old != nil && age == p.age {
		return old, age, nil
	}
	if old != nil {
		_ = old.Conn.Close()
	}
	if n := len(p.idle); n > 0 {
		server := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return server, p.age, nil
	}
	conn, err := pgconn.ConnectConfig(context.WithoutCancel(p.t.Context()), &p.config.Config)
	if err != nil {
		return nil, 0, err
	}
	server, err := conn.Hijack()
	return server, p.age, err
}

func (p *pooler) give(server *pgconn.HijackedConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, server)
}

func (p *pooler) client(client *pgproto3.Backend) {
	if _, err := client.ReceiveStartupMessage(); err != nil {
		return
	}
	client.Send(&pgproto3.AuthenticationOk{})
	client.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	client.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	client.Send(&pgproto3.BackendKeyData{ProcessID: 1 << 30, SecretKey: []byte{1, 2, 3, 4}})
	client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if client.Flush() != nil {
		return
	}
	var server *pgconn.HijackedConn
	age, inside := 0, false // a transaction, or the messages up to a Sync
	defer func() {
		if server != nil {
			_ = server.Conn.Close()
		}
	}()
	for {
		message, err := client.Receive()
		if err != nil {
			return
		}
		if !inside {
			if server, age, err = p.take(server, age); err != nil {
				p.t.Errorf("the pooler has no server: %v", err)
				return
			}
			inside = true
		}
		p.rename(message)
		server.Frontend.Send(message)
		switch message.(type) {
		case *pgproto3.Terminate:
			return
		case *pgproto3.Sync, *pgproto3.Query:
			status, err := answer(client, server.Frontend)
			if err != nil {
				return
			}
			inside = status != 'I'
			if !inside && !p.perSession {
				p.give(server)
				server = nil
			}
		}
	}
}

// answer passes on what the server says until it is ready for another query.
func answer(client *pgproto3.Backend, server *pgproto3.Frontend) (status byte, err error) {
	if err := server.Flush(); err != nil {
		return 0, err
	}
	for {
		message, err := server.Receive()
		if err != nil {
			return 0, err
		}
		client.Send(message)
		if ready, ok := message.(*pgproto3.ReadyForQuery); ok {
			return ready.TxStatus, client.Flush()
		}
	}
}
