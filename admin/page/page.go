// Package page is the web page of the admin address: the whole fleet as the database tells it, whichever process is asked,
// and what an operator may do.
//
// It promises that nothing is changed without the token, and that what remote servers say is shown as text. Any number of
// viewers costs the database what one does: see [Page.snapshot].
package page

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"github.com/fedsender/fedsender/admin/access"
	"github.com/fedsender/fedsender/pg"
)

const (
	// readTimeout is for each part of a page; a page that lacks one says so.
	readTimeout = 4 * time.Second
	// actTimeout is for what an operator does, which may wait for a lock.
	actTimeout = 20 * time.Second
	// turnTimeout is how long an action or a trace waits for another one.
	turnTimeout = 5 * time.Second
	// maxReads leaves the process two connections of its four. An action counts as a read.
	maxReads = 2
	// maxForm holds the ids of a full page of dead letters many times.
	maxForm = 64 << 10
	// maxStreams bounds the pages that are updated live; the others are still.
	maxStreams = 64
)

// Database is a pool of connections.
type Database interface {
	pg.Querier
	pg.TxBeginner
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

// Config is what the page needs. All of it must be set.
type Config struct {
	Name    string // of this process
	Version string
	// Ready says in one sentence without a secret why this process can't deliver; nil: it can.
	Ready func() error
	DB    Database
	// LockReads is the budget of the page for reading pg_locks, which every writer of the database pays.
	LockReads *rate.Limiter
	Log       *slog.Logger
}

// Page serves everything that is for people. It is safe for several goroutines.
type Page struct {
	Config
	guard     *access.Guard
	mux       *http.ServeMux
	views     map[string]view // by path, for the live updates
	reads     chan struct{}
	acts      chan struct{} // one at a time
	traces    chan struct{} // one at a time
	streams   chan struct{}
	ended     chan struct{}
	end       func()
	fleet     *shared[*Snapshot]
	minutes   *shared[history]
	instances *keyed[*instanceRead]
}

// view is a page for reading: what its template shows for a query.
type view struct {
	template string
	title    string
	fill     func(ctx context.Context, r *http.Request) (any, error)
}

// New makes the page.
func New(config Config, guard *access.Guard) *Page {
	p := &Page{
		Config: config, guard: guard, mux: http.NewServeMux(), reads: make(chan struct{}, maxReads), streams: make(chan struct{}, maxStreams),
		acts: make(chan struct{}, 1), traces: make(chan struct{}, 1),
		ended: make(chan struct{}), fleet: newShared[*Snapshot](fleetAge), minutes: newShared[history](historyAge), instances: newKeyed[*instanceRead](fleetAge),
	}
	p.end = sync.OnceFunc(func() { close(p.ended) })
	p.views = map[string]view{
		"/":             {"overview", "Overview", p.overview},
		"/instances":    {"instances", "Instances", p.listInstances},
		"/instance":     {"instance", "Instance", p.oneInstance},
		"/dead-letters": {"letters", "Dead letters", p.listLetters},
		"/dead-letter":  {"letter", "Dead letter", p.oneLetter},
		"/processes":    {"processes", "Processes", p.listProcesses},
		"/trace":        {"trace", "Trace", p.trace},
	}
	for path, v := range p.views {
		pattern := "GET " + path
		if path == "/" {
			pattern = "GET /{$}"
		}
		p.mux.Handle(pattern, p.reader(func(w http.ResponseWriter, r *http.Request, who access.Who) { p.serveView(w, r, who, v) }))
	}
	p.mux.Handle("GET /events", p.reader(p.serveEvents))
	p.mux.Handle("GET /history.json", p.reader(p.serveHistory))
	p.mux.Handle("GET /instance/{action}", p.actor(p.confirmAction))
	p.mux.Handle("POST /instance/{action}", p.actor(p.doAction))
	p.mux.Handle("GET /dead-letters/{action}", p.actor(p.confirmLetters))
	p.mux.Handle("POST /dead-letters/{action}", p.actor(p.doLetters))
	p.mux.HandleFunc("GET /login", p.serveLogin)
	p.mux.HandleFunc("POST /login", p.login)
	p.mux.HandleFunc("POST /logout", p.logout)
	p.mux.HandleFunc("GET /static/{name...}", serveStatic)
	return p
}

// ServeHTTP serves a request. Other sites can't have a browser send one that changes something: see
// [http.CrossOriginProtection].
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	http.NewCrossOriginProtection().Handler(p.mux).ServeHTTP(w, r)
}

// End ends the live updates that are under way, which would not end by themselves.
func (p *Page) End() { p.end() }

type handler func(w http.ResponseWriter, r *http.Request, who access.Who)

// reader lets through who may read: who has shown the token, or anybody on this machine where there is none.
func (p *Page) reader(next handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, result := p.guard.Look(r)
		switch {
		case result == access.Known, !p.guard.HasToken() && access.Local(r):
			next(w, r, who)
		default:
			p.refuse(w, r, result)
		}
	})
}

// actor lets through who may act: who has shown the token.
func (p *Page) actor(next handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, result := p.guard.Look(r)
		if result != access.Known {
			p.refuse(w, r, result)
			return
		}
		if r.Method == http.MethodPost {
			if err := r.ParseForm(); err != nil {
				p.badForm(w, r, err, "Nothing was changed.")
				return
			}
			if !who.MayPost(r.PostForm.Get("form_token")) {
				p.say(w, r, http.StatusForbidden, "This form is not of this session", "Nothing was changed. Go back, load the page again and send the form from there.")
				return
			}
		}
		next(w, r, who)
	})
}

// badForm says why a form could not be read, and that nothing came of it.
func (p *Page) badForm(w http.ResponseWriter, r *http.Request, err error, nothing string) {
	title, what := "The form could not be read", "It did not come whole or in time, or is no form."
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		title, what = "The form is too large", "Choose fewer at once."
	}
	p.say(w, r, http.StatusBadRequest, title, nothing+" "+what)
}

// refuse says what is missing.
func (p *Page) refuse(w http.ResponseWriter, r *http.Request, result access.Result) {
	switch {
	case !p.guard.HasToken():
		p.say(w, r, http.StatusForbidden, "This needs an admin token", "None is set: without SENDER_ADMIN_TOKEN nothing can be changed, and the page is shown only to browsers on this machine that call it localhost or 127.0.0.1. Set SENDER_ADMIN_TOKEN for every sender process and sign in with it.")
	case result == access.TooMany:
		w.Header().Set("Retry-After", "10")
		p.say(w, r, http.StatusTooManyRequests, "Too many wrong tokens", "Wait ten seconds and try again.")
	case result == access.Wrong || r.Method != http.MethodGet || r.URL.Path == "/events" || r.URL.Path == "/history.json":
		w.Header().Set("WWW-Authenticate", `Bearer realm="fedsender"`)
		p.say(w, r, http.StatusUnauthorized, "This needs the admin token", "Sign in with SENDER_ADMIN_TOKEN, or send it as a bearer token. Nothing was changed.")
	default:
		http.Redirect(w, r, "/login?to="+urlEscape(r.URL.RequestURI()), http.StatusSeeOther)
	}
}

// reading runs f on a read-only transaction whose statements end in time.
func (p *Page) reading(ctx context.Context, f func(ctx context.Context, q pg.Querier) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	done, ok := take(ctx, p.reads)
	if !ok {
		return ctx.Err()
	}
	defer done()
	return pg.Reading(ctx, p.DB, readTimeout, f)
}

// take waits for a place until ctx ends. done gives it back.
func take(ctx context.Context, places chan struct{}) (done func(), ok bool) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	case <-ctx.Done():
		return nil, false
	}
}

// busyError says that what was asked for is done one at a time, and others are at it.
type busyError string

func (e busyError) Error() string { return string(e) }

// acting runs f, which may change something, when no other action is under way, and with one of the places of reading: the
// process keeps its other connections. It returns a busyError where that takes too long; f has not run then.
func (p *Page) acting(ctx context.Context, f func(ctx context.Context)) error {
	wait, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	for _, places := range []chan struct{}{p.acts, p.reads} {
		done, ok := take(wait, places)
		if !ok {
			return busyError("Another action is under way. Nothing was done; try again in a few seconds.")
		}
		defer done()
	}
	ctx, cancel = context.WithTimeout(ctx, actTimeout)
	defer cancel()
	f(ctx)
	return nil
}

// problem says in a sentence that something could not be read. What exactly is for the log, which is no page.
func (p *Page) problem(what string, err error) string {
	p.Log.Warn("the page lacks a part: "+what, "error", pg.Sentence(err))
	if errors.Is(err, context.DeadlineExceeded) || pg.IsCanceled(err) {
		return what + " could not be read within " + readTimeout.String() + "."
	}
	return what + " could not be read; the log of this process says why."
}
