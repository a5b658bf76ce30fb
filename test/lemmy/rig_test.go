package lemmy_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

// scene is a database of Lemmy's with a person and a community, and the fediverse around it.
type scene struct {
	*lemmy.World
	t         *testing.T
	ctx       context.Context
	url       string
	fedi      *fediverse.Fediverse
	receiver  *lemmy.Receiver
	person    lemmy.Actor
	community lemmy.Actor
	cluster   *fleet.Cluster // nil before migrate
	sent      int
	lax       bool // what receivers object to is not a failure
}

func newScene(t *testing.T, line lemmy.Line) *scene {
	t.Helper()
	return newSceneOn(t, line, database(t, line))
}

// newSceneOn is newScene on a database with empty tables.
func newSceneOn(t *testing.T, line lemmy.Line, url string) *scene {
	t.Helper()
	sender(t) // before the time starts that the test has
	limit := 3 * patience
	if whole {
		limit *= 10
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	s := &scene{t: t, ctx: ctx, url: url, receiver: &lemmy.Receiver{}}
	config, err := pgxpool.ParseConfig(s.url)
	ok(t, err)
	config.MaxConns = writers + 4
	db, err := pgxpool.NewWithConfig(ctx, config)
	ok(t, err)
	t.Cleanup(db.Close)
	s.World, err = lemmy.NewWorld(ctx, db, line)
	ok(t, err)
	s.person, err = s.Person(ctx, "ada", lemmy.PKCS1)
	ok(t, err)
	s.community, err = s.Community(ctx, "main", lemmy.PKCS8)
	ok(t, err)
	s.fedi, err = fediverse.Start(fediverse.Config{Default: s.receiver.Behaviour(fediverse.Always(fediverse.OK))})
	ok(t, err)
	t.Cleanup(func() { ok(t, s.fedi.Close()) })
	t.Cleanup(s.sound)
	s.Introduce(s.fedi)
	return s
}

// sound reports what receivers objected to.
func (s *scene) sound() {
	if s.lax {
		return
	}
	for _, complaint := range s.receiver.Complaints() {
		s.t.Error(complaint)
	}
	violations, _ := s.fedi.Ledger().Violations()
	for _, violation := range violations {
		s.t.Error(violation)
	}
}

// remote makes an instance with a site, and a follower of the community there. It has got all that there is.
func (s *scene) remote(domain string) (instance int32) {
	s.t.Helper()
	instance = s.stranger(domain)
	s.begin(instance, s.newest())
	return instance
}

// stranger is a remote one that Lemmy's sender has not seen yet.
func (s *scene) stranger(domain string) (instance int32) {
	s.t.Helper()
	instance, err := s.Instance(s.ctx, domain)
	ok(s.t, err)
	s.fan(instance, domain, "fan")
	return instance
}

// begin puts the cursor of an instance somewhere.
func (s *scene) begin(instance int32, cursor int64) {
	s.t.Helper()
	s.exec(`
		insert into federation_queue_state (instance_id, last_successful_id, fail_count) values ($1, $2, 0)
		on conflict (instance_id) do update set last_successful_id = excluded.last_successful_id`, instance, cursor)
}

// fan is a follower of the community whose server has a shared inbox.
func (s *scene) fan(instance int32, domain, name string) {
	s.t.Helper()
	fan, err := s.Fan(s.ctx, instance, domain, name)
	ok(s.t, err)
	ok(s.t, s.Follow(s.ctx, fan, s.community.ID, false))
}

// loneFan is one whose server has none.
func (s *scene) loneFan(instance int32, domain, name string) {
	s.t.Helper()
	fan, err := s.LoneFan(s.ctx, instance, domain, name)
	ok(s.t, err)
	ok(s.t, s.Follow(s.ctx, fan, s.community.ID, false))
}

// exec runs a statement with this line's names.
func (s *scene) exec(text string, args ...any) {
	s.t.Helper()
	ok(s.t, s.Exec(s.ctx, text, args...))
}

// change is what a test wants otherwise in an activity.
type change = func(*lemmy.Activity)

// everywhere sends to the site of every instance, and to no followers.
func everywhere(a *lemmy.Activity) { a.AllInstances, a.FollowersOf = true, lemmy.Actor{} }

// to sends to these inboxes alone.
func to(inboxes ...string) change {
	return func(a *lemmy.Activity) { a.Inboxes, a.FollowersOf = inboxes, lemmy.Actor{} }
}

// by has another actor sign it.
func by(actor lemmy.Actor) change { return func(a *lemmy.Activity) { a.Actor = actor } }

// document is sent in place of an ordinary one.
func document(text string) change { return func(a *lemmy.Activity) { a.Data = text } }

// send inserts an activity by the community, for its followers if nothing else is said, and returns its ActivityPub id.
func (s *scene) send(changes ...change) string {
	s.t.Helper()
	s.sent++
	a := lemmy.Activity{Name: fmt.Sprint(s.sent), Actor: s.community, FollowersOf: s.community}
	for _, c := range changes {
		c(&a)
	}
	s.insert(a)
	return lemmy.ActivityID(a.Name)
}

// insert is Send of what the receiver is told to expect, where it can be.
func (s *scene) insert(a lemmy.Activity) (id int64) {
	s.t.Helper()
	row := lemmy.ActivityRow{APID: lemmy.ActivityID(a.Name), Data: a.Document()}
	if _, err := row.Signer(); err == nil {
		ok(s.t, s.receiver.Expect(row))
	}
	id, err := s.Send(s.ctx, a)
	ok(s.t, err)
	return id
}

// client reaches the simulated instances by their names.
func (s *scene) client() *http.Client {
	client := s.fedi.Client()
	client.Timeout = patience
	s.t.Cleanup(client.CloseIdleConnections)
	return client
}

// accepted are the activities that an instance has taken, in the order of arrival.
func (s *scene) accepted(domain string) []string { return s.fedi.Ledger().Taken(domain) }

// arrived waits until an instance has accepted exactly these activities, whatever the order.
func (s *scene) arrived(domain string, ids ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	ok(s.t, s.fedi.Ledger().WaitTaken(ctx, domain, ids...))
}

// command runs a verb of the sender on the scene's database and returns what it prints and its exit code.
func (s *scene) command(args ...string) (output string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	output, code, err := fleet.Command(ctx, sender(s.t), s.url, args...)
	ok(s.t, err)
	return output, code
}

// must is command that succeeds.
func (s *scene) must(args ...string) string {
	s.t.Helper()
	output, code := s.command(args...)
	if code != 0 {
		s.t.Fatalf("sender %q ended with %d: %s", args, code, output)
	}
	return output
}

// migrate makes schema fedsender beside the tables, of whichever line they are.
func (s *scene) migrate() {
	s.t.Helper()
	s.must("migrate")
	s.cluster = &fleet.Cluster{Binary: sender(s.t), Database: s.url, DB: s.DB, Fedi: s.fedi}
	if testing.Verbose() {
		s.cluster.Log = os.Stderr
	}
	s.t.Cleanup(s.halt)
}

// start runs so many senders, and makes the schema if it is not there.
func (s *scene) start(n int) []*fleet.Sender {
	s.t.Helper()
	if s.cluster == nil {
		s.migrate()
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	senders, err := s.cluster.Start(ctx, n)
	ok(s.t, err)
	return senders
}

// halt stops all senders in order.
func (s *scene) halt() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), patience)
	defer cancel()
	for _, sender := range s.cluster.Senders() {
		if err := sender.Stop(ctx); err != nil {
			s.t.Error(err)
		}
	}
}

// settled waits until the cursor of an instance has reached the newest id.
func (s *scene) settled(instance int32) {
	s.t.Helper()
	s.until("everything is settled", `
		select last_successful_id = (select max(id) from sent_activity)
		from federation_queue_state
		where instance_id = $1`, instance)
}

// newest is the highest id.
func (s *scene) newest() (id int64) {
	s.t.Helper()
	return query[int64](s, `select coalesce(max(id), 0) from sent_activity`)
}

// cursor is where an instance stands in Lemmy's own table; -1: nowhere.
func (s *scene) cursor(instance int32) (id int64) {
	s.t.Helper()
	return query[int64](s, `select coalesce(max(last_successful_id), -1) from federation_queue_state where instance_id = $1`, instance)
}

// query reads one value, with this line's names.
func query[T any](s *scene, text string, args ...any) (value T) {
	s.t.Helper()
	if err := s.DB.QueryRow(s.ctx, s.SQL(text), args...).Scan(&value); err != nil {
		s.t.Fatalf("%s: %v", s.SQL(text), err)
	}
	return value
}

// until waits for a condition in the database, with this line's names. No row is not yet.
func (s *scene) until(what, text string, args ...any) {
	s.t.Helper()
	s.untilWithin(patience, what, text, args...)
}

func (s *scene) untilWithin(limit time.Duration, what, text string, args ...any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	ok(s.t, fleet.Until(ctx, what, func() (done bool, err error) {
		err = s.DB.QueryRow(ctx, s.SQL("select coalesce(("+text+"), false)"), args...).Scan(&done)
		return done, err
	}))
}

// letters are the reasons of all dead letters.
func (s *scene) letters() (reasons []string) {
	s.t.Helper()
	return query[[]string](s, `select coalesce(array_agg(reason order by id), '{}') from fedsender.dead_letter`)
}
