package sender

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"
	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
	"github.com/fedsender/fedsender/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Tests{M: m}) }

var testKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
})

// bench is an engine on a database of its own whose loops do not run: a test makes their steps. Deliveries succeed.
type bench struct {
	*engine
	t     *testing.T
	head  *head
	actor int64

	mu   sync.Mutex
	sent map[int32][]int64 // instance → activities, in the order of the deliveries
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := newBenchOn(t, postgres.Database(t, fleet.Migrate))
	b.scan(&b.actor, `insert into fedsender.actor (ap_id, private_key_pem) values ('https://home.example/u/a', $1) returning id`, testKey())
	return b
}

// newBenchOn makes one on a database that has schema fedsender.
func newBenchOn(t *testing.T, database string) *bench {
	t.Helper()
	config := Config{
		DatabaseURL: database, Name: "bench", MaxInFlight: 64, MaxInFlightPerInstance: 8,
		RequestTimeout: time.Second, CacheBytes: minCacheBytes, Log: slog.New(slog.DiscardHandler),
	}
	e, err := newEngine(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{engine: e, t: t, sent: map[int32][]int64{}}
	feed, err := e.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.dispatcher = newDispatcher(config, b.post, func(r *panics.Recovered) { t.Error(r) })
	e.dispatcher.advance(feed.Head(), time.Time{})
	e.dispatcher.begin(t.Context())
	t.Cleanup(func() {
		e.dispatcher.reset()
		e.pool.Close()
		e.closeClient()
	})
	b.head = &head{engine: e, feed: feed}
	if err := e.load(t.Context(), feed); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) post(_ context.Context, s *slot, d worker.Delivery) worker.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[s.id] = append(b.sent[s.id], d.Activity.ID)
	return worker.Outcome{Class: worker.Delivered}
}

// got is what was sent to an instance so far.
func (b *bench) got(id int32) []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]int64(nil), b.sent[id]...)
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) scan(into any, sql string, args ...any) {
	b.t.Helper()
	if err := b.pool.QueryRow(b.t.Context(), sql, args...).Scan(into); err != nil {
		b.t.Fatal(err)
	}
}

// instance makes an instance that follows the actor.
func (b *bench) instance(domain string) (id int32) {
	b.t.Helper()
	b.scan(&id, `insert into fedsender.instance (domain) values ($1) returning id`, domain)
	b.follow(id, domain)
	return id
}

func (b *bench) follow(id int32, domain string) {
	b.t.Helper()
	b.exec(`
		insert into fedsender.follower (actor_id, follower_ap_id, instance_id, inbox)
		values ($1, 'https://' || $2 || '/u/f', $3, 'https://' || $2 || '/inbox')`, b.actor, domain, id)
}

// activity inserts one for the actor's followers.
func (b *bench) activity() (id int64) {
	b.t.Helper()
	b.scan(&id, `
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
		values ('https://home.example/' || gen_random_uuid(), '{"type":"Note"}', $1, array[$1::bigint]) returning id`, b.actor)
	return id
}

// read lets the head read all that is there.
func (b *bench) read() {
	b.t.Helper()
	for {
		if _, err := b.head.round(b.t.Context(), true); err != nil {
			b.t.Fatal(err)
		}
		var highest int64
		b.scan(&highest, `select coalesce(max(id), 0) from fedsender.activity`)
		if b.dispatcher.count().head >= highest {
			return
		}
	}
}

// until waits for a condition, at most 10 s.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	b.within(10*time.Second, what, ok)
}

// within waits for a condition, at most so long.
func (b *bench) within(most time.Duration, what string, ok func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), most)
	defer cancel()
	for !ok() {
		if pause(ctx, 5*time.Millisecond); ctx.Err() != nil {
			b.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// beside runs f until the test ends.
func (b *bench) beside(f func()) {
	var group conc.WaitGroup
	b.t.Cleanup(group.Wait)
	group.Go(f)
}

// saved writes everything as if this process had a lease session.
func (b *bench) saved() {
	b.t.Helper()
	b.inSession(func() {
		if err := b.save(b.t.Context(), nil, 0); err != nil {
			b.t.Fatal(err)
		}
	})
}

// inSession has f run while there is a lease session.
func (b *bench) inSession(f func()) {
	b.t.Helper()
	session, err := pg.OpenLeaseSession(b.t.Context(), b.logins.lease.Load(), b.id, 0, b.log)
	if err != nil {
		b.t.Fatal(err)
	}
	defer session.Close()
	b.session.Store(session)
	defer b.session.Store(nil)
	f()
}
