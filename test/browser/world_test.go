package browser

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

// Domains of instances that are not ok, one of each kind at least; the rest of a kind is numbered.
const (
	hostile  = `"><script>window.pwned=1<.example` // a domain may hold all of that
	failing  = "failing-000.example"
	throttle = "throttling-000.example"
	refusing = "refusing-000.example"
	slow     = "lagging-000.example"
	dead     = "dead-000.example"
	paused   = "paused-000.example"
	blocked  = "blocked-000.example"
	fine     = "i-00000.example"
)

// hostileText is what a server answers and what an activity is called.
const hostileText = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`

// world is a fleet in which everything occurs.
type world struct {
	*fleet.Cluster
	senders []*fleet.Sender
	base    string // of a page
	actor   int64
}

// kinds are how many of a hundred instances are of each kind; the rest is fine.
var kinds = []struct {
	name    string
	percent int
}{{"failing", 3}, {"throttling", 1}, {"refusing", 1}, {"lagging", 1}, {"dead", 2}, {"paused", 1}, {"blocked", 1}}

// newWorld has so many instances and senders, of which one is killed.
func newWorld(t *testing.T, instances, senders int) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	binary, err := fleet.Binary(ctx, "")
	ok(t, err)
	c, err := fleet.NewCluster(ctx, binary, postgres.Database(t), fediverse.Config{})
	ok(t, err)
	c.Env = []string{"SENDER_ADMIN_TOKEN=" + token, "SENDER_REQUEST_TIMEOUT=5m", "SENDER_SHUTDOWN_TIMEOUT=1s"}
	if testing.Verbose() && os.Getenv("FEDSENDER_BROWSER_LOG") != "" {
		c.Log = os.Stderr
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Log(err) // deliveries that hang are cut off
		}
	})
	w := &world{Cluster: c}
	w.seed(ctx, t, instances)
	w.senders, err = c.Start(ctx, senders)
	ok(t, err)
	ok(t, c.WaitHeld(ctx, senders))
	admin, err := w.senders[0].Admin(ctx)
	ok(t, err)
	w.base = "http://" + admin
	w.publish(ctx, t, 8)
	w.wait(ctx, t, "dead letters are there", `select exists (select from fedsender.dead_letter)`)
	w.wait(ctx, t, "instances fail", `select count(*) > 1 from fedsender.source_queue_state where fail_count > 0 and last_error is not null`)
	if senders > 1 {
		w.senders[senders-1].Kill()
		ok(t, c.WaitHeld(ctx, senders-1))
	}
	return w
}

// seed makes instances of all kinds, most of which behave so; dead ones and history are written.
func (w *world) seed(ctx context.Context, t *testing.T, instances int) {
	t.Helper()
	domains := []string{hostile}
	for _, kind := range kinds {
		for n := range max(1, instances*kind.percent/100) {
			domain := fmt.Sprintf("%s-%03d.example", kind.name, n)
			domains = append(domains, domain)
			if answer := answers[kind.name]; answer != nil {
				w.Fedi.Instance(domain).SetAnswer(answer)
			}
		}
	}
	w.Fedi.Instance(hostile).SetAnswer(fediverse.Explained(502, "text/plain", hostileText))
	for n := 0; len(domains) < instances; n++ {
		domains = append(domains, fleet.Domain(n))
	}
	seeded, err := fleet.Seed(ctx, w.DB, w.Fedi, fleet.Seeding{Actors: 1, Instances: len(domains), Domain: func(i int) string { return domains[i] }})
	ok(t, err)
	w.actor = seeded.Actors[0]
	_, err = w.DB.Exec(ctx, `
		update fedsender.instance set created_at = now() - interval '300 days';
		insert into fedsender.domain_block (domain) select domain from fedsender.instance where domain like 'blocked-%';
		select fedsender.pause(domain, case when domain like '%1.example' then now() + interval '6 hours' else 'infinity' end)
		from fedsender.instance where domain like 'paused-%';
		update fedsender.instance_control set note = 'asked for a rest until the new server is there' where instance_id in (select id from fedsender.instance where domain = 'paused-000.example');
		update fedsender.queue_state q set fail_count = 20 + q.instance_id % 9, last_retry_at = now() - q.instance_id % 23 * interval '1 hour'
		from fedsender.instance i where i.id = q.instance_id and i.domain like 'dead-%';
		insert into fedsender.instance_health (instance_id, last_error, last_error_at)
		select id, 'dial tcp: lookup ' || domain || ': no such host', now() - interval '9 hours' from fedsender.instance where domain like 'dead-%'
		on conflict (instance_id) do update set last_error = excluded.last_error, last_error_at = excluded.last_error_at`)
	ok(t, err)
	_, err = w.DB.Exec(ctx, `
		insert into fedsender.history (minute, delivered, retry, throttled, refused, lag_seconds)
		select date_trunc('minute', now()) - n * interval '1 minute', 9000 + 5000 * sin(n / 60.0) + 1500 * random(), 60 + 90 * random() + case when n between 80 and 110 then 900 else 0 end,
			25 * random(), 8 * random(), 2 + 3 * random() + case when n between 80 and 115 then (115 - n) * 3 else 0 end
		from generate_series(1, 361) n`)
	ok(t, err)
}

var answers = map[string]fediverse.Answer{
	"failing":    fediverse.Explained(502, "text/plain", "upstream is down"),
	"throttling": fediverse.RetryAfter(429, 20*time.Minute),
	"refusing":   fediverse.Explained(404, "application/json", `{"error":"no such inbox"}`),
	"lagging":    fediverse.Slow(4*time.Minute, fediverse.OK),
}

// publish writes activities, the first of which are ten minutes old, so that who has not got them lags.
func (w *world) publish(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	_, err := w.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_followers_of, published_at)
		select 'https://home.example/a/' || md5(clock_timestamp()::text || n), json_build_object('@context', 'https://www.w3.org/ns/activitystreams',
			'id', 'https://home.example/a/' || n, 'type', 'Create', 'actor', 'https://home.example/u/0', 'to', json_build_array('https://www.w3.org/ns/activitystreams#Public'),
			'object', json_build_object('type', 'Note', 'content', '<p>Hello, fediverse ' || n || '</p>')), $1, array[$1::bigint], now() - interval '10 minutes'
		from generate_series(1, $2::int) n`, w.actor, n)
	ok(t, err)
	_, err = w.DB.Exec(ctx, `
		insert into fedsender.activity (ap_id, data, actor_id, send_inboxes)
		values ('https://home.example/a/' || $2::text || md5(clock_timestamp()::text), json_build_object('id', 'https://home.example/a/x', 'type', 'Create', 'content', $2::text), $1,
			array['https://`+refusing+`/inbox', 'https://user:secret@unknown.example/inbox'])`, w.actor, hostileText)
	ok(t, err)
}

func (w *world) wait(ctx context.Context, t *testing.T, what, sql string) {
	t.Helper()
	began := time.Now()
	defer func() { t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond)) }()
	ok(t, fleet.Until(ctx, what, func() (yes bool, err error) {
		err = w.DB.QueryRow(ctx, sql).Scan(&yes)
		return yes, err
	}))
}

// count is what a query counts.
func (w *world) count(t *testing.T, sql string) (n int) {
	t.Helper()
	ok(t, w.DB.QueryRow(t.Context(), sql).Scan(&n))
	return n
}

// hostileActivity is the id of the activity whose id is a script.
func (w *world) hostileActivity(t *testing.T) (id string) {
	t.Helper()
	ok(t, w.DB.QueryRow(t.Context(), `select ap_id from fedsender.activity where ap_id like '%<script>%' limit 1`).Scan(&id))
	if !strings.Contains(id, hostileText) {
		t.Fatalf("the activity is called %s", id)
	}
	return id
}
