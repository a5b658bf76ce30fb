package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/admin/access"
	"github.com/fedsender/fedsender/admin/page"
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
	// Token is what opens the page and /debug/pprof at this moment; nil, or empty: nobody may act, and only browsers on this
	// machine may read. Several goroutines call it.
	Token func() string
	// Alive says in one sentence why only a restart can help the process; nil, or a nil function: it lives.
	Alive func() error
	// Ready says in one sentence without a secret why the process can't deliver; nil: it can.
	Ready func() error
	// MaxConnections bounds those that are open to Serve, and an eighth of it those of one peer; 0: 1,024.
	MaxConnections int
	// Page is what the page needs; nil: there is none.
	Page *page.Config
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
	handler, end := handle(cfg)
	defer end()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         newConnections(cfg.MaxConnections, cfg.Metrics.connectionsClosed).watch,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(end)
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
	handler, _ := handle(cfg)
	return handler
}

// handle also returns what ends the requests that would go on for ever.
func handle(cfg Config) (http.Handler, func()) {
	mux, guard, end := http.NewServeMux(), access.New(cfg.Token), func() {}
	mux.HandleFunc("GET /healthz", sayHow(cfg.Alive))
	mux.HandleFunc("GET /readyz", sayHow(cfg.Ready))
	mux.Handle("GET /metrics", cfg.Metrics.Handler())
	mux.Handle("/debug/pprof/", withToken(guard, profiles()))
	if cfg.Page != nil {
		p := page.New(*cfg.Page, guard)
		mux.Handle("/", p)
		end = p.End
	}
	return safeHeaders(mux), end
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

// withToken lets through who shows the token.
func withToken(guard *access.Guard, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, result := guard.Look(r); result {
		case access.Known:
			next.ServeHTTP(w, r)
		case access.TooMany:
			w.Header().Set("Retry-After", "10")
			say(w, http.StatusTooManyRequests, "too many wrong tokens; wait ten seconds")
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="fedsender"`)
			say(w, http.StatusUnauthorized, "this needs SENDER_ADMIN_TOKEN as a bearer token")
		}
	})
}

// safeHeaders keep a browser from running, framing or storing anything that a remote server has put into a name.
func safeHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
