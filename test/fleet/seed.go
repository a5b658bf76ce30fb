package fleet

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
)

// Home is the domain of the actors that send.
const Home = "home.example"

// World is a filled database: actors with keys, instances that are known, and followers.
type World struct {
	Actors    []int64  // ids
	Instances []string // domains
	KeyPEM    string   // the private key of all actors
}

// Seeding says how much there is. Every actor has one follower on every instance unless Followers says otherwise.
type Seeding struct {
	Actors, Instances int
	Domain            func(i int) string                 // nil: i-00042.example
	Followers         func(actor, instance int) bool     // nil: all
	Inbox             func(domain string) (string, bool) // of a follower, and whether it is shared; nil: the shared one
}

// ActorID is the ActivityPub id of the n-th actor.
func ActorID(n int) string { return fmt.Sprintf("https://%s/u/%d", Home, n) }

// Domain is the n-th instance's.
func Domain(n int) string { return fmt.Sprintf("i-%05d.example", n) }

// SharedInbox of a domain.
func SharedInbox(domain string) string { return "https://" + domain + "/inbox" }

// Seed fills the database and makes the actors' key known to the fediverse. One key serves all actors, because making
// one takes long.
func Seed(ctx context.Context, db *pgxpool.Pool, fedi *fediverse.Fediverse, s Seeding) (*World, error) {
	key, text, err := NewKey()
	if err != nil {
		return nil, err
	}
	if s.Domain == nil {
		s.Domain = Domain
	}
	w := &World{KeyPEM: text}
	for n := range s.Actors {
		var id int64
		err := db.QueryRow(ctx, `
			insert into fedsender.actor (ap_id, key_id, private_key_pem)
			values ($1, $1 || '#main-key', $2)
			returning id`, ActorID(n), text).Scan(&id)
		if err != nil {
			return nil, fmt.Errorf("insert an actor: %w", err)
		}
		w.Actors = append(w.Actors, id)
		fedi.Register(ActorID(n)+"#main-key", &key.PublicKey)
	}
	for i := range s.Instances {
		w.Instances = append(w.Instances, s.Domain(i))
	}
	_, err = db.Exec(ctx, `
		insert into fedsender.instance (domain, shared_inbox)
		select d, 'https://' || d || '/inbox' from unnest($1::text[]) with ordinality as u(d, n) order by n`, w.Instances)
	if err != nil {
		return nil, fmt.Errorf("insert instances: %w", err)
	}
	return w, w.follow(ctx, db, s)
}

func (w *World) follow(ctx context.Context, db *pgxpool.Pool, s Seeding) error {
	ids := map[string]int32{}
	rows, err := db.Query(ctx, `select domain, id from fedsender.instance`)
	if err != nil {
		return err
	}
	var domain string
	var id int32
	if _, err := pgx.ForEachRow(rows, []any{&domain, &id}, func() error { ids[domain] = id; return nil }); err != nil {
		return err
	}
	var follows [][]any
	for a, actor := range w.Actors {
		for i, domain := range w.Instances {
			if s.Followers != nil && !s.Followers(a, i) {
				continue
			}
			inbox, shared := SharedInbox(domain), true
			if s.Inbox != nil {
				inbox, shared = s.Inbox(domain)
			}
			follower := fmt.Sprintf("https://%s/u/fan%d", domain, a)
			row := []any{actor, follower, ids[domain], inbox, nil}
			if shared {
				row[3], row[4] = follower+"/inbox", inbox
			}
			follows = append(follows, row)
		}
	}
	_, err = db.CopyFrom(ctx, pgx.Identifier{"fedsender", "follower"},
		[]string{"actor_id", "follower_ap_id", "instance_id", "inbox", "shared_inbox"}, pgx.CopyFromRows(follows))
	if err != nil {
		return fmt.Errorf("insert followers: %w", err)
	}
	return nil
}
