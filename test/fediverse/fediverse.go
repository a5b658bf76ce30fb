package fediverse

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc"
)

// DefaultMaxBody is the limit of Mastodon; a longer body is answered with 413.
const DefaultMaxBody = 1 << 20

// Config says what fediverse is wanted. Its zero value works.
type Config struct {
	// Addr is where to listen; a free port of 127.0.0.1 when empty.
	Addr string
	// Dir gets the CA file. A temporary directory, which Close removes, when empty.
	Dir string
	// Default is the behaviour of instances that have none of their own; 202 to everything when nil.
	Default Behaviour
	// VerifyEvery checks the RSA signature of one in so many requests, for speed; 0 and 1 mean all. What is cheap to
	// check is checked always.
	VerifyEvery int
	// MaxBody in bytes; DefaultMaxBody when 0.
	MaxBody int64
	// DateWithin is how far Date may be away from the time of arrival, before or after it, as with servers that allow for
	// clocks that are wrong (Mastodon: 12 h). At most 30 s old and not ahead when 0.
	DateWithin time.Duration
	// Refused is told of each request that is a [Violation], by many goroutines at once. Nil: nobody is.
	Refused func(x *Exchange, status int, reason string)
}

// Fediverse is running. Its methods are safe for several goroutines.
type Fediverse struct {
	config    Config
	ledger    *Ledger
	authority *Authority
	listener  net.Listener
	server    *http.Server

	instances sync.Map // domain → *Instance
	keys      sync.Map // keyId → *rsa.PublicKey or ed25519.PublicKey
	fallback  atomic.Pointer[Behaviour]
	verified  atomic.Uint64 // requests seen, for VerifyEvery

	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
	running   sync.WaitGroup // connections and handlers, which net/http's Close does not wait for
	group     conc.WaitGroup
}

// Start listens. The caller must Close the fediverse.
func Start(config Config) (*Fediverse, error) {
	if config.Addr == "" {
		config.Addr = "127.0.0.1:0"
	}
	if config.MaxBody == 0 {
		config.MaxBody = DefaultMaxBody
	}
	if config.Default == nil {
		config.Default = Always(OK)
	}
	authority, err := NewAuthority(config.Dir)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", config.Addr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the fediverse: %w", err), authority.Close())
	}
	f := &Fediverse{config: config, ledger: newLedger(), authority: authority, closing: make(chan struct{})}
	f.fallback.Store(&config.Default)
	f.listener = &sniffer{Listener: listener, config: f.tlsConfig()}
	f.server = &http.Server{
		Handler:     http.HandlerFunc(f.serve),
		ErrorLog:    log.New(io.Discard, "", 0), // clients that hang up are what is tested
		ConnContext: withConnection,
		ConnState:   f.follow,
	}
	f.group.Go(func() { _ = f.server.Serve(f.listener) }) // ends by Close only
	return f, nil
}

// Addr is the one address of all instances, as "127.0.0.1:PORT".
func (f *Fediverse) Addr() string { return f.listener.Addr().String() }

// CAFile is the PEM file of the root that signs the certificates of all instances.
func (f *Fediverse) CAFile() string { return f.authority.CAFile() }

// CAPEM is the content of CAFile.
func (f *Fediverse) CAPEM() string { return string(f.authority.pem) }

// Ledger has what arrived.
func (f *Fediverse) Ledger() *Ledger { return f.ledger }

// Register makes the key known under which an actor of the sender signs. A request is refused with 401, and is a
// [Violation], unless
//   - its Signature is keyId, algorithm="rsa-sha256", headers="(request-target) host date digest", signature, in this
//     order and with nothing else, and right for a registered key by a library that this project did not write;
//   - its Digest is "SHA-256=" and that of the body;
//   - its Date is in the form of RFC 9110 with two digits for the day, at most 30 s old and not ahead;
//   - its Host is in lower case, without a default port, and the name of the TLS handshake;
//   - its Content-Type is application/activity+json, and its User-Agent not that of a library;
//   - its body is a JSON object with an id.
func (f *Fediverse) Register(keyID string, key *rsa.PublicKey) { f.keys.Store(keyID, key) }

// RegisterPEM is Register with a key in PEM: SPKI, as in an actor's publicKeyPem, or PKCS#1.
func (f *Fediverse) RegisterPEM(keyID, text string) error {
	key, err := parsePublicKey(text)
	if err != nil {
		return fmt.Errorf("register %s: %w", keyID, err)
	}
	f.Register(keyID, key)
	return nil
}

// Instance returns the instance of a domain (with its port if it has one), which comes into being by being named.
func (f *Fediverse) Instance(domain string) *Instance {
	domain = strings.ToLower(domain)
	if found, ok := f.instances.Load(domain); ok {
		return found.(*Instance)
	}
	made, _ := f.instances.LoadOrStore(domain, &Instance{domain: domain})
	return made.(*Instance)
}

// SetDefault sets the behaviour of all instances that have none of their own, those never mentioned included.
func (f *Fediverse) SetDefault(behaviour Behaviour) { f.fallback.Store(&behaviour) }

// Close ends all connections and waits until everything has ended. It may be called twice.
func (f *Fediverse) Close() error {
	f.closeOnce.Do(func() {
		close(f.closing)
		f.closeErr = f.server.Close()
		f.group.Wait()
		f.running.Wait()
		f.closeErr = errors.Join(f.closeErr, f.authority.Close())
	})
	return f.closeErr
}

// follow counts the connections that have a goroutine of net/http.
func (f *Fediverse) follow(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		f.running.Add(1)
	case http.StateClosed, http.StateHijacked:
		f.running.Done()
	}
}

func (f *Fediverse) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		GetConfigForClient: f.greet,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.authority.Certificate(nameOf(hello))
		},
	}
}

type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}
