package outcomes

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

// epoch is when the virtual clock starts, and when the instance was last seen before that.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	domain = "toad.example"
	shared = "https://" + domain + "/inbox"
	day    = 24 * time.Hour
	seed   = 7

	// patience is a time-out that only a server which never answers reaches.
	patience = 20 * time.Second
	// haste is a time-out for servers that never answer.
	haste = 300 * time.Millisecond
)

// activity is what the application inserted.
type activity struct {
	id int64
	at time.Duration // when, after the epoch
	// object is what it changes: of two activities with one object the later waits for the earlier.
	object  string
	inboxes []worker.Inbox

	body       string
	keyID, pem string
}

// try is one delivery that was made.
type try struct {
	at      time.Duration
	id      int64
	outcome worker.Outcome
}

// String is such as "1m30s #1 429 throttled".
func (y try) String() string {
	status := ""
	if y.outcome.Status != 0 {
		status = strconv.Itoa(y.outcome.Status) + " "
	}
	return fmt.Sprintf("%s #%d %s%s", y.at, y.id, status, deliver.Class(y.outcome.Class))
}

// rig is a worker for one instance of a simulated fediverse, and its owner.
type rig struct {
	testing.TB
	*worker.Worker
	net    *fediverse.Fediverse
	toad   *fediverse.Instance
	client *deliver.Client
	clock  atomic.Int64 // nanoseconds after the epoch

	all     []*activity // by id
	backlog []*activity // not offered

	tries   []try
	rounds  []int // how many deliveries were started together
	letters []worker.Letter
}

// newRig starts a fediverse, of which the worker's instance is toad.example, and a client with the given settings.
func newRig(t testing.TB, config deliver.Config) *rig {
	t.Helper()
	f, err := fediverse.Start(fediverse.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Register(keyID, &rsaKey().PublicKey)
	r := &rig{TB: t, net: f, toad: f.Instance(domain)}
	r.Worker = worker.New(worker.State{}, worker.Limits{}, epoch, seed)
	r.useClient(config)
	return r
}

// useClient delivers with other settings from here on.
func (r *rig) useClient(config deliver.Config) {
	r.Helper()
	if config.ConnectTo == "" {
		config.ConnectTo = r.net.Addr()
	}
	r.useDirectClient(config)
}

// useDirectClient connects to where the names of the inboxes are.
func (r *rig) useDirectClient(config deliver.Config) {
	r.Helper()
	config.CAFile = r.net.CAFile()
	config.Proxy = noProxy
	if config.RequestTimeout == 0 {
		config.RequestTimeout = patience
	}
	client, err := deliver.NewClient(config)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(client.Close)
	r.client = client
}

// insert adds an activity with the next id. Without inboxes it is for the shared one of toad.example.
func (r *rig) insert(a activity) *activity {
	a.id = int64(len(r.all) + 1)
	if a.object == "" {
		a.object = fmt.Sprintf("https://sender.example/notes/%d", a.id)
	}
	if a.inboxes == nil {
		a.inboxes = []worker.Inbox{{URL: shared, Shared: true}}
	}
	if a.body == "" {
		a.body = fmt.Sprintf(`{"id":%q,"type":"Update","actor":"https://sender.example/users/alice","object":{"id":%q,"type":"Note"}}`,
			nameOf(a.id), a.object)
	}
	if a.keyID == "" {
		a.keyID = keyID
	}
	if a.pem == "" {
		a.pem = rsaPEM()
	}
	r.all = append(r.all, &a)
	r.backlog = append(r.backlog, &a)
	return &a
}

// insertEvery adds n activities, the first at once.
func (r *rig) insertEvery(interval time.Duration, n int) {
	for i := range n {
		r.insert(activity{at: time.Duration(i) * interval})
	}
}

func nameOf(id int64) string { return fmt.Sprintf("https://sender.example/activities/%d", id) }

// numberOf is the id of the activity with that name.
func numberOf(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '/')+1:])
	if err != nil {
		panic(err)
	}
	return n
}

func (r *rig) elapsed() time.Duration { return time.Duration(r.clock.Load()) }

func (r *rig) now() time.Time { return epoch.Add(r.elapsed()) }

func (r *rig) job(a *activity) worker.Job {
	return worker.Job{
		Activity: &worker.Activity{ID: a.id, PublishedAt: epoch.Add(a.at), Footprint: worker.FootprintOf([]byte(a.body))},
		Inboxes:  a.inboxes,
	}
}

// run delivers until the clock shows end, and what starts at that moment too.
func (r *rig) run(end time.Duration) {
	r.Helper()
	r.runUntil(end, func() bool { return false })
}

// runTries delivers until n deliveries were made in all. It takes for granted that this is within a year.
func (r *rig) runTries(n int) {
	r.Helper()
	r.runUntil(r.elapsed()+365*day, func() bool { return len(r.tries) >= n })
	if len(r.tries) < n {
		r.Fatalf("%d deliveries, want %d: %v", len(r.tries), n, r.tries)
	}
}

// runUntil is what an owner of a worker does: it offers what there is room for, makes the deliveries that may start,
// and sleeps until NextAt or until there is something new.
func (r *rig) runUntil(end time.Duration, stop func() bool) {
	r.Helper()
	for idle := 0; !stop(); {
		r.offer()
		if r.round() {
			idle = 0
			continue
		}
		wake, ok := r.wakesAt()
		if !ok || wake > end {
			r.clock.Store(int64(end))
			return
		}
		if idle++; idle > 10 {
			r.Fatalf("at %s NextAt says %s, and nothing starts then", r.elapsed(), r.NextAt(r.now()).Sub(epoch))
		}
		r.sleep(wake)
	}
}

func (r *rig) offer() {
	for len(r.backlog) > 0 && r.backlog[0].at <= r.elapsed() && r.Room(r.now()) > 0 {
		r.Offer(r.job(r.backlog[0]))
		r.backlog = r.backlog[1:]
	}
}

// wakesAt is when there is something to do again.
func (r *rig) wakesAt() (wake time.Duration, ok bool) {
	if at := r.NextAt(r.now()); !at.IsZero() {
		wake, ok = at.Sub(epoch), true
	}
	if len(r.backlog) > 0 && r.backlog[0].at > r.elapsed() && (!ok || r.backlog[0].at < wake) {
		wake, ok = r.backlog[0].at, true
	}
	return wake, ok
}

// sleep passes the time. Nothing may start earlier than NextAt said.
func (r *rig) sleep(wake time.Duration) {
	r.Helper()
	if before := wake - 1; before > r.elapsed() {
		r.clock.Store(int64(before))
		if d, ok := r.Next(r.now()); ok {
			r.Fatalf("%d starts at %s, before it should at %s", d.Activity.ID, before, wake)
		}
	}
	r.clock.Store(int64(wake))
}

// round makes the deliveries that may start at this moment, all at once. It takes no time by the virtual clock.
func (r *rig) round() bool {
	r.Helper()
	var started []worker.Delivery
	for {
		d, ok := r.Next(r.now())
		if !ok {
			break
		}
		started = append(started, d)
	}
	if len(started) == 0 {
		return false
	}
	outcomes := make([]worker.Outcome, len(started))
	var posting sync.WaitGroup
	for i, d := range started {
		posting.Go(func() { outcomes[i] = r.post(d) })
	}
	posting.Wait()
	for i, d := range started {
		r.tries = append(r.tries, try{r.elapsed(), d.Activity.ID, outcomes[i]})
		r.Done(r.now(), d, outcomes[i])
	}
	r.rounds = append(r.rounds, len(started))
	r.letters = append(r.letters, r.TakeLetters()...)
	return true
}

// post is what the sender does with a delivery.
func (r *rig) post(d worker.Delivery) worker.Outcome {
	a := r.all[d.Activity.ID-1]
	document, err := deliver.NewDocument([]byte(a.body))
	if err != nil {
		return worker.Outcome{Class: worker.Unusable, Reason: err.Error()}
	}
	key, err := deliver.ParseKey(a.keyID, a.pem)
	if err != nil {
		return worker.Outcome{Class: worker.Unusable, Reason: err.Error()}
	}
	o := r.client.Post(r.Context(), d.Inbox.URL, document, key)
	return worker.Outcome{Class: worker.Class(o.Class), Status: o.Status, RetryAfter: o.RetryAfter, Reason: o.Reason}
}

// restart goes on as another process does that takes over: from the saved state and nothing else.
func (r *rig) restart() {
	r.Helper()
	saved, err := json.Marshal(r.State())
	if err != nil {
		r.Fatal(err)
	}
	var state worker.State
	if err := json.Unmarshal(saved, &state); err != nil {
		r.Fatal(err)
	}
	r.Worker = worker.New(state, worker.Limits{}, epoch, seed)
	for _, id := range r.HeldIDs() {
		r.Restore(r.job(r.all[id-1]))
	}
	r.backlog = slices.DeleteFunc(slices.Clone(r.all), func(a *activity) bool { return a.id <= r.Offered() })
}
