// Package adapter tests an adapter that is not part of the program: the one of Quill, which docs/adapters.md shows.
package adapter

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }

// patience is how long a test waits for what should take a second; only a broken one waits so long.
const patience = 60 * time.Second

const (
	ann      = "https://quill.example/@ann"
	folder   = "./quill"
	toad     = "toad.example"
	birch    = "birch.example"
	sharedAt = "https://%s/inbox"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scene is a database of Quill's with an author, two peers with a subscriber each, and the fediverse around it.
type scene struct {
	t       *testing.T
	ctx     context.Context
	url     string
	binary  string
	db      *pgxpool.Pool
	fedi    *fediverse.Fediverse
	cluster *fleet.Cluster
	pem     string
	sent    int
}

func newScene(t *testing.T) *scene {
	t.Helper()
	t.Parallel()
	binary, err := fleet.Binary(context.Background(), "")
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	s := &scene{t: t, ctx: ctx, binary: binary, url: postgres.Database(t)}
	s.db, err = connect(ctx, s.url)
	ok(t, err)
	t.Cleanup(s.db.Close)
	s.fedi = fleet.StrictFediverse(t)
	tables, err := os.ReadFile("server.sql")
	ok(t, err)
	s.exec(string(tables))
	key, text, err := fleet.NewKey()
	ok(t, err)
	s.pem = text
	s.fedi.Register(ann+"#main-key", &key.PublicKey)
	s.exec(`insert into quill.author (url, secret_key) values ($1, $2)`, ann, s.pem)
	s.subscribe(toad)
	s.subscribe(birch)
	return s
}

// connect has room for several writers at one time.
func connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 12
	return pgxpool.NewWithConfig(ctx, config)
}

func (s *scene) exec(text string, args ...any) {
	s.t.Helper()
	if _, err := s.db.Exec(s.ctx, text, args...); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
}

// query reads one value.
func query[T any](s *scene, text string, args ...any) (value T) {
	s.t.Helper()
	if err := s.db.QueryRow(s.ctx, text, args...).Scan(&value); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return value
}

// until waits for a condition in the database. No row is not yet.
func (s *scene) until(what, text string, args ...any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	ok(s.t, fleet.Until(ctx, what, func() (done bool, err error) {
		err = s.db.QueryRow(ctx, "select coalesce(("+text+"), false)", args...).Scan(&done)
		return done, err
	}))
}

// subscribe makes the peer, with a shared inbox, if it is not there, and a subscriber of Ann's on it.
func (s *scene) subscribe(host string) {
	s.t.Helper()
	shared := fmt.Sprintf(sharedAt, host)
	s.exec(`insert into quill.peer (host, common_inbox) values ($1, $2) on conflict do nothing`, host, shared)
	s.exec(`
		insert into quill.subscriber (author_no, url, peer_no, own_inbox, common_inbox)
		select a.author_no, $1, p.peer_no, $1 || '/inbox', $2
		from quill.author a, quill.peer p
		where a.url = $3 and p.host = $4`, "https://"+host+"/@fan", shared, ann, host)
}

// letter is what a test wants otherwise.
type letter struct{ kind, about, to, also string }

// write inserts a letter to Ann's subscribers, if nothing else is said, and returns its id.
func (s *scene) write(l letter) string {
	s.t.Helper()
	s.sent++
	id := fmt.Sprintf("https://quill.example/letters/%d", s.sent)
	kind, about := l.kind, l.about
	if kind == "" {
		kind, about = "Create", id+"/text"
	}
	s.exec(`
		insert into quill.letter (url, author_no, document, to_subscribers, to_everyone, also_to)
		select $1, author_no, json_build_object('id', $1::text, 'type', $2::text, 'actor', url, 'object', json_build_object('id', $3::text, 'type', 'Article')),
		  $4 = '', $4 = 'everyone', array_remove(array[$5], '')
		from quill.author where url = $6`, id, kind, about, l.to, l.also, ann)
	return id
}

// command runs a verb of the sender on the scene's database and returns what it prints and its exit code.
func (s *scene) command(args ...string) (output string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	output, code, err := fleet.Command(ctx, s.binary, s.url, args...)
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

// start makes the schema and runs so many senders.
func (s *scene) start(n int) {
	s.t.Helper()
	if s.cluster == nil {
		s.must("migrate", "--source", folder)
		s.cluster = &fleet.Cluster{Binary: s.binary, Database: s.url, DB: s.db, Fedi: s.fedi}
		s.t.Cleanup(s.halt)
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	_, err := s.cluster.Start(ctx, n)
	ok(s.t, err)
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

// accepted are the activities that a host has taken, in the order of arrival.
func (s *scene) accepted(host string) []string { return s.fedi.Ledger().Taken(host) }

// arrived waits until a host has accepted exactly these, whatever the order.
func (s *scene) arrived(host string, ids ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	ok(s.t, s.fedi.Ledger().WaitTaken(ctx, host, ids...))
}

// settled waits until the cursor of a host has reached the newest letter.
func (s *scene) settled(host string) {
	s.t.Helper()
	s.until("everything is settled", `
		select q.last_successful_id = (select max(letter_no) from quill.letter)
		from fedsender.queue_state q
		join quill.peer p on p.peer_no = q.instance_id
		where p.host = $1`, host)
}
