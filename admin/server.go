package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sourcegraph/conc"
)

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	// writeTimeout lets /debug/pprof/profile run for a minute.
	writeTimeout   = 90 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	// endTimeout is for requests under way when Serve ends; a profile is not waited for.
	endTimeout = 3 * time.Second
)

// Config is what Serve needs. Addr, Metrics, Ready and Log must be set.
type Config struct {
	Addr    string // HOST:PORT; port 0 is a free one
	Metrics *Metrics
	// Token is what opens /debug/pprof at this moment; nil, or empty: nothing does. Several goroutines call it.
	Token func() string
	// Alive says in one sentence why only a restart can help the process; nil, or a nil function: it lives.
	Alive func() error
	// Ready says in one sentence without a secret why the process can't deliver; nil: it can.
	Ready func() error
	// Overview is what the page shows; nil: only whether the process is ready.
	Overview func(context.Context) (Overview, error)
	// Listening, when set, is told the address as soon as connections are taken.
	Listening func(net.Addr)
	Log       *slog.Logger
}

// ListenError is an address that can't be listened on.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("SENDER_ADMIN_ADDR %s can't be used: %s; choose another one, or leave it empty to serve none", e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// Serve answers until ctx ends, then lets requests under way end for at most 3 s and returns nil. When the address is
// taken or not of this machine it returns a [*ListenError] at once.
func Serve(ctx context.Context, cfg Config) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		var refused *net.OpError
		if errors.As(err, &refused) {
			err = refused.Err
		}
		return &ListenError{Addr: cfg.Addr, Err: err}
	}
	if cfg.Listening != nil {
		cfg.Listening(listener.Addr())
	}
	server := &http.Server{
		Handler:           Handler(cfg),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	var group conc.WaitGroup
	served := make(chan error, 1)
	group.Go(func() { served <- server.Serve(listener) })
	defer group.Wait()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", cfg.Addr, err)
	case <-ctx.Done():
	}
	// The caller's context has ended; what is under way gets its own time.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close()
	}
	return nil
}

// Handler is what Serve serves, for those who have a server of their own.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { servePage(w, r, cfg) })
	mux.HandleFunc("GET /style.css", serveStyle)
	mux.HandleFunc("GET /healthz", sayHow(cfg.Alive))
	mux.HandleFunc("GET /readyz", sayHow(cfg.Ready))
	mux.Handle("GET /metrics", cfg.Metrics.Handler())
	mux.Handle("/debug/pprof/", withToken(cfg.Token, profiles()))
	return safeHeaders(mux)
}

func sayHow(is func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if is != nil {
			if err := is(); err != nil {
				say(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		say(w, http.StatusOK, "ok")
	}
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// withToken lets through who shows the token (RFC 6750, 2.1). Hashes are compared, so that the time taken tells
// neither the token's bytes nor its length.
func withToken(token func() string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		current := ""
		if token != nil {
			current = token()
		}
		want := sha256.Sum256([]byte(current))
		scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(shown)))
		same := subtle.ConstantTimeCompare(want[:], got[:]) == 1
		if current == "" || !strings.EqualFold(scheme, "Bearer") || !same {
			w.Header().Set("WWW-Authenticate", `Bearer realm="fedsender"`)
			say(w, http.StatusUnauthorized, "this needs SENDER_ADMIN_TOKEN as a bearer token")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// safeHeaders keep a browser from running, framing or storing anything that a remote server has put into a name.
func safeHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
