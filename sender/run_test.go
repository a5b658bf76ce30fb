package sender

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// relay stands between a process and the database until it is told to swallow everything, as a link that was cut.
type relay struct {
	listener net.Listener
	to       atomic.Pointer[string]
	cut      atomic.Bool
	group    conc.WaitGroup
	ctx      context.Context
}

// newRelay returns a relay and the URL of the database through it.
func newRelay(t *testing.T, database string) (*relay, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &relay{listener: listener, ctx: ctx}
	r.to.Store(&u.Host)
	r.group.Go(r.run)
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		r.group.Wait()
	})
	through := *u
	through.Host = listener.Addr().String()
	return r, through.String()
}

func (r *relay) run() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", *r.to.Load())
		if err != nil {
			_ = in.Close()
			return
		}
		context.AfterFunc(r.ctx, func() { _, _ = in.Close(), out.Close() })
		r.group.Go(func() { r.copy(in, out) })
		r.group.Go(func() { r.copy(out, in) })
	}
}

func (r *relay) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if r.cut.Load() {
			if err != nil {
				return // and the other side hears nothing
			}
			continue
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				_ = to.Close()
			}
			return
		}
	}
}

// awaitLease makes an instance and waits until somebody holds it.
func awaitLease(t *testing.T, database string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `insert into fedsender.instance (domain) values ('a.example')`); err != nil {
		t.Fatal(err)
	}
	for held := false; !held; {
		if pause(t.Context(), 10*time.Millisecond); t.Context().Err() != nil {
			t.Fatal("nobody takes the lease")
		}
		if err := conn.QueryRow(t.Context(), `select exists (select from pg_locks where locktype = 'advisory')`).Scan(&held); err != nil {
			t.Fatal(err)
		}
	}
}

// wildLog panics at the first warning.
type wildLog struct{ slog.Handler }

func (wildLog) Enabled(context.Context, slog.Level) bool { return true }

func (wildLog) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		panic("a defect")
	}
	return nil
}

func TestRun_LoopThatPanicsEndsIt(t *testing.T) {
	database := postgres.Database(t, fleet.Migrate)
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	// Who writes what this process does warns of it.
	if _, err := conn.Exec(t.Context(), `alter table fedsender.process rename to hidden`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = Run(ctx, Config{
		DatabaseURL: database, Name: "wild", MaxInFlight: 8, MaxInFlightPerInstance: 2, RequestTimeout: time.Second,
		ShutdownTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(wildLog{slog.DiscardHandler}),
	})
	if err == nil || !strings.Contains(err.Error(), "a defect") {
		t.Errorf("ended with %v, want the panic", err)
	}
}

func TestRun_EndsInTimeAlthoughTheDatabaseIsSilent(t *testing.T) {
	direct := postgres.Database(t, fleet.Migrate)
	r, database := newRelay(t, direct)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	config := Config{
		DatabaseURL: database, Name: "silent", MaxInFlight: 8, MaxInFlightPerInstance: 2, RequestTimeout: time.Second,
		ShutdownTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	var group conc.WaitGroup
	defer group.Wait()
	group.Go(func() { ended <- Run(ctx, config) })
	awaitLease(t, direct)
	r.cut.Store(true)
	stop()
	// The session's goodbyes take 2 s each, and so does the one of the process.
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(config.ShutdownTimeout + 10*time.Second):
		t.Error("it is still there")
		<-ended
	}
}

func TestClosePool_EndsConnectionsWhoseServerIsSilent(t *testing.T) {
	r, database := newRelay(t, postgres.Database(t))
	e, err := newEngine(t.Context(), Config{DatabaseURL: database, RequestTimeout: time.Second, CacheBytes: minCacheBytes})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.cut.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := e.pool.Ping(ctx); err == nil {
		t.Fatal("a link that was cut answered")
	}
	began := time.Now()
	e.closePool()
	if n := e.pool.Stat().TotalConns(); n > 0 {
		t.Errorf("%d connections are left", n)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := e.pool.Ping(t.Context()); err == nil {
		t.Error("the pool is open")
	}
}
