package lemmy

import (
	"context"
	"crypto/rsa"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
)

// Home is the domain of the local site.
const Home = "home.example"

// World writes rows as Lemmy does. Its methods are for one goroutine at a time.
type World struct {
	Line   Line
	DB     *pgxpool.Pool
	Site   Actor
	Actors []Actor // all local ones, the site included

	home int32 // the local instance
}

// Actor is who signs: the site, a local person or a local community.
type Actor struct {
	ID   int32 // of its row
	Kind string
	APID string
	Key  *rsa.PrivateKey
}

// KeyID is what its signatures name.
func (a Actor) KeyID() string { return a.APID + "#main-key" }

// NewWorld fills empty tables with the local instance and its site, which federates.
func NewWorld(ctx context.Context, db *pgxpool.Pool, line Line) (*World, error) {
	w := &World{Line: line, DB: db}
	var err error
	if w.home, err = w.instance(ctx, Home); err != nil {
		return nil, err
	}
	if w.Site, err = w.actor(ctx, "site", "https://"+Home+"/", PKCS8); err != nil {
		return nil, err
	}
	return w, w.Exec(ctx, `insert into local_site (site_id, federation_enabled) values ($1, true)`, w.Site.ID)
}

// SQL puts this line's names of columns where the text has them in braces: {ap_id}, {published}, {updated},
// {last_retry}, {last_published}.
func (w *World) SQL(text string) string {
	if w.Line == V10 {
		return strings.NewReplacer("{ap_id}", "ap_id", "{published}", "published_at", "{updated}", "updated_at",
			"{last_retry}", "last_retry_at", "{last_published}", "last_successful_published_time_at").Replace(text)
	}
	return strings.NewReplacer("{ap_id}", "actor_id", "{published}", "published", "{updated}", "updated",
		"{last_retry}", "last_retry", "{last_published}", "last_successful_published_time").Replace(text)
}

// Exec runs a statement with names as in [World.SQL].
func (w *World) Exec(ctx context.Context, text string, args ...any) error {
	text = w.SQL(text)
	if _, err := w.DB.Exec(ctx, text, args...); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSpace(text), err)
	}
	return nil
}

func (w *World) id(ctx context.Context, text string, args ...any) (id int32, err error) {
	text = w.SQL(text)
	if err := w.DB.QueryRow(ctx, text, args...).Scan(&id); err != nil {
		return 0, fmt.Errorf("%s: %w", strings.TrimSpace(text), err)
	}
	return id, nil
}

// Introduce makes the keys of all actors known to the fediverse.
func (w *World) Introduce(fedi *fediverse.Fediverse) {
	for _, a := range w.Actors {
		fedi.Register(a.KeyID(), &a.Key.PublicKey)
	}
}

// actor makes a local one.
func (w *World) actor(ctx context.Context, kind, apID string, form KeyForm) (Actor, error) {
	a := Actor{Kind: kind, APID: apID}
	var err error
	if a.Key, err = key(len(w.Actors)); err != nil {
		return a, err
	}
	text, err := form.write(a.Key)
	if err != nil {
		return a, err
	}
	inbox := strings.TrimSuffix(apID, "/") + "/inbox"
	a.ID, err = w.id(ctx, `
		insert into `+kind+` (name, {ap_id}, private_key, public_key, inbox_url, instance_id)
		values ($1, $2, $3, '', $4, $5)
		returning id`, apID[strings.LastIndexByte(apID, '/')+1:], apID, text, inbox, w.home)
	if err != nil {
		return a, err
	}
	w.Actors = append(w.Actors, a)
	return a, nil
}

// Person makes a local one.
func (w *World) Person(ctx context.Context, name string, form KeyForm) (Actor, error) {
	return w.actor(ctx, "person", "https://"+Home+"/u/"+name, form)
}

// Community makes a local, public one.
func (w *World) Community(ctx context.Context, name string, form KeyForm) (Actor, error) {
	return w.actor(ctx, "community", "https://"+Home+"/c/"+name, form)
}

// PrivateCommunity makes a local one whose followers must be accepted. Lemmy 0.19 has none.
func (w *World) PrivateCommunity(ctx context.Context, name string) (Actor, error) {
	a, err := w.Community(ctx, name, PKCS8)
	if err != nil {
		return a, err
	}
	return a, w.Exec(ctx, `update community set visibility = 'Private' where id = $1`, a.ID)
}

// RemoteCommunity is one that local people follow; followers on other instances are not the business of this one.
func (w *World) RemoteCommunity(ctx context.Context, instance int32, domain, name string) (int32, error) {
	return w.id(ctx, `
		insert into community (name, {ap_id}, local, public_key, inbox_url, instance_id)
		values ($1, $2, false, '', $3, $4)
		returning id`, name, "https://"+domain+"/c/"+name, "https://"+domain+"/c/"+name+"/inbox", instance)
}

// instance makes one that has been known for a year and was seen a moment ago.
func (w *World) instance(ctx context.Context, domain string) (int32, error) {
	return w.id(ctx, `
		insert into instance (domain, {published}, {updated}) values ($1, now() - interval '1 year', now())
		returning id`, domain)
}

// Instance makes a remote one with a site, whose inbox is https://DOMAIN/inbox.
func (w *World) Instance(ctx context.Context, domain string) (int32, error) {
	id, err := w.InstanceWithoutSite(ctx, domain)
	if err != nil {
		return 0, err
	}
	return id, w.Exec(ctx, `
		insert into site (name, {ap_id}, inbox_url, public_key, instance_id)
		values ('remote', $1, $2, '', $3)`, "https://"+domain+"/", SharedInbox(domain), id)
}

// InstanceWithoutSite makes a remote one that is no Lemmy, or that was not yet asked.
func (w *World) InstanceWithoutSite(ctx context.Context, domain string) (int32, error) {
	return w.instance(ctx, domain)
}

// SharedInbox of a domain.
func SharedInbox(domain string) string { return "https://" + domain + "/inbox" }

// PersonalInbox of somebody there.
func PersonalInbox(domain, name string) string { return "https://" + domain + "/u/" + name + "/inbox" }

// Fan makes a remote person whose server has a shared inbox.
func (w *World) Fan(ctx context.Context, instance int32, domain, name string) (int32, error) {
	return w.fan(ctx, instance, domain, name, SharedInbox(domain))
}

// LoneFan makes a remote person whose server has none.
func (w *World) LoneFan(ctx context.Context, instance int32, domain, name string) (int32, error) {
	return w.fan(ctx, instance, domain, name, "")
}

func (w *World) fan(ctx context.Context, instance int32, domain, name, shared string) (int32, error) {
	apID, inbox := "https://"+domain+"/u/"+name, PersonalInbox(domain, name)
	if w.Line == V019 {
		return w.id(ctx, `
			insert into person (name, actor_id, local, public_key, inbox_url, shared_inbox_url, instance_id)
			values ($1, $2, false, '', $3, nullif($4, ''), $5)
			returning id`, name, apID, inbox, shared, instance)
	}
	if shared != "" {
		inbox = shared
	}
	return w.id(ctx, `
		insert into person (name, ap_id, local, public_key, inbox_url, instance_id)
		values ($1, $2, false, '', $3, $4)
		returning id`, name, apID, inbox, instance)
}

// Follow makes a person follow a community; pending until the community's server has accepted it.
func (w *World) Follow(ctx context.Context, person, community int32, pending bool) error {
	if w.Line == V019 {
		return w.Exec(ctx, `
			insert into community_follower (community_id, person_id, pending) values ($1, $2, $3)
			on conflict (person_id, community_id) do update set pending = excluded.pending`, community, person, pending)
	}
	return w.Exec(ctx, `
		insert into community_actions (community_id, person_id, followed_at, follow_state)
		values ($1, $2, now(), (case when $3 then 'Pending' else 'Accepted' end)::community_follower_state)
		on conflict (person_id, community_id) do update
		set followed_at = excluded.followed_at, follow_state = excluded.follow_state`, community, person, pending)
}

// Unfollow ends it. In 1.0 the row stays, for what else it says.
func (w *World) Unfollow(ctx context.Context, person, community int32) error {
	if w.Line == V019 {
		return w.Exec(ctx, `delete from community_follower where community_id = $1 and person_id = $2`, community, person)
	}
	return w.Exec(ctx, `
		update community_actions set followed_at = null, follow_state = null
		where community_id = $1 and person_id = $2`, community, person)
}

// Allow puts an instance on the allow list.
func (w *World) Allow(ctx context.Context, instance int32) error {
	return w.Exec(ctx, `insert into federation_allowlist (instance_id) values ($1)`, instance)
}

// Block puts an instance on the block list.
func (w *World) Block(ctx context.Context, instance int32) error {
	return w.Exec(ctx, `insert into federation_blocklist (instance_id) values ($1)`, instance)
}
