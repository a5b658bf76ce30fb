package sender

import (
	"context"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// awaitSessions waits until so many lease sessions are there.
func awaitSessions(t *testing.T, db *pgxpool.Pool, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		var sessions int
		err := db.QueryRow(ctx, `
			select count(*)
			from pg_stat_activity
			where datname = current_database() and application_name like 'fedsender:%'`).Scan(&sessions)
		if err == nil && sessions == want {
			return
		}
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			t.Fatalf("there are %d lease sessions, want %d: %v", sessions, want, err)
		}
	}
}

func connect(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// What the name of the database stands for changes while the lease session lives, as behind a proxy that was told of a new
// primary: new connections must not be used beside leases that are held elsewhere.
func TestRun_MovesItsLeasesToWhereNewConnectionsLead(t *testing.T) {
	before := postgres.Database(t, fleet.Migrate)
	other, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() }) // nothing depends on it
	name, err := pgx.ParseConfig(before)
	if err != nil {
		t.Fatal(err)
	}
	after, err := other.CreateDatabase(t.Context(), name.Database)
	if err != nil {
		t.Fatal(err)
	}
	if err := fleet.Migrate(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	r, through := newRelay(t, before)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group conc.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() {
		if err := Run(ctx, Config{
			DatabaseURL: through, Name: "follower", MaxInFlight: 8, MaxInFlightPerInstance: 2, RequestTimeout: time.Second,
			ShutdownTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(slog.DiscardHandler),
		}); err != nil {
			t.Error(err)
		}
	})
	here, there := connect(t, before), connect(t, after)
	awaitLease(t, before)
	moved, err := url.Parse(after)
	if err != nil {
		t.Fatal(err)
	}
	r.to.Store(&moved.Host)
	// The lease session stays; what is connected anew finds the other server.
	if _, err := here.Exec(ctx, `
		select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'fedsender'`); err != nil {
		t.Fatal(err)
	}
	awaitSessions(t, here, 0)
	awaitSessions(t, there, 1)
}

func TestRun_TakesTwoDatabasesForNoOne(t *testing.T) {
	one, two := postgres.Database(t, fleet.Migrate), postgres.Database(t, fleet.Migrate)
	said := make(chan string, 100)
	ctx, stop := context.WithCancel(t.Context())
	var group conc.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() {
		if err := Run(ctx, Config{
			DatabaseURL: one, LeaseDatabaseURL: two, Name: "torn", MaxInFlight: 8, MaxInFlightPerInstance: 2, RequestTimeout: time.Second,
			ShutdownTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(sayings{slog.DiscardHandler, said}),
		}); err != nil {
			t.Error(err)
		}
	})
	for {
		select {
		case text := <-said:
			if text == "no lease session; nothing is sent until there is one" {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nobody says that leases and activities are in different databases")
		}
	}
}

// sayings passes on what is warned of.
type sayings struct {
	slog.Handler
	said chan<- string
}

func (sayings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (s sayings) Handle(_ context.Context, r slog.Record) error {
	select {
	case s.said <- r.Message:
	default:
	}
	return nil
}
