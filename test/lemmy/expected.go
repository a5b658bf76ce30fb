package lemmy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// deadAfter is how long an instance may show no sign of life.
const deadAfter = 3 * 24 * time.Hour

// Target is an inbox of an instance.
type Target struct {
	Instance int32
	Inbox    string
}

// Rows are all that decides who gets what, as they stand at one moment.
type Rows struct {
	Activities []ActivityRow // in the order of their ids
	Instances  []InstanceRow // remote ones
	Federation bool          // local_site.federation_enabled

	allowed, blocked map[int32]bool
	followers        map[int32][]followerRow // by community
}

// ActivityRow is a row of sent_activity.
type ActivityRow struct {
	ID           int64
	APID         string
	Data         string
	Published    time.Time
	Inboxes      []string
	FollowersOf  *int32
	AllInstances bool
	ActorKind    string
	ActorAPID    *string
}

// InstanceRow is a row of instance with the inbox of its site.
type InstanceRow struct {
	ID       int32
	Domain   string
	LastSeen time.Time
	Inbox    *string
}

type followerRow struct {
	community, instance  int32
	inbox                string
	local, private, mine bool // the person is local, the community private, the community local
	pending              bool
}

// Read reads all rows in one snapshot.
func (w *World) Read(ctx context.Context) (*Rows, error) {
	r := &Rows{allowed: map[int32]bool{}, blocked: map[int32]bool{}, followers: map[int32][]followerRow{}}
	err := pgx.BeginTxFunc(ctx, w.DB, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select federation_enabled from local_site`).Scan(&r.Federation); err != nil {
			return err
		}
		return r.read(ctx, tx, w)
	})
	if err != nil {
		return nil, fmt.Errorf("read Lemmy's tables: %w", err)
	}
	return r, nil
}

func (r *Rows) read(ctx context.Context, tx pgx.Tx, w *World) (err error) {
	rows, _ := tx.Query(ctx, w.SQL(`
		select id, ap_id, data::text, {published}, send_inboxes, send_community_followers_of, send_all_instances, actor_type::text, actor_apub_id
		from sent_activity
		order by id`)) // CollectRows returns the error
	if r.Activities, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ActivityRow]); err != nil {
		return err
	}
	rows, _ = tx.Query(ctx, w.SQL(`
		select i.id, i.domain, coalesce(i.{updated}, i.{published}), s.inbox_url
		from instance i
		left join site s on s.instance_id = i.id
		where i.domain <> $1
		order by i.id`), Home)
	if r.Instances, err = pgx.CollectRows(rows, pgx.RowToStructByPos[InstanceRow]); err != nil {
		return err
	}
	expires := "'infinity'::timestamptz"
	if w.Line == V10 {
		expires = "coalesce(expires_at, 'infinity')"
	}
	for list, into := range map[string]map[int32]bool{
		"federation_allowlist": r.allowed,
		"federation_blocklist": r.blocked,
	} {
		query := "select instance_id from " + list
		if list == "federation_blocklist" {
			query += " where " + expires + " > now()"
		}
		rows, _ = tx.Query(ctx, query)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			return err
		}
		for _, id := range ids {
			into[id] = true
		}
	}
	return r.readFollowers(ctx, tx, w)
}

func (r *Rows) readFollowers(ctx context.Context, tx pgx.Tx, w *World) error {
	text := `
		select f.community_id, p.instance_id, coalesce(p.shared_inbox_url, p.inbox_url), p.local,
		  c.visibility::text = 'Private', c.local, f.pending
		from community_follower f, person p, community c
		where p.id = f.person_id and c.id = f.community_id`
	if w.Line == V10 {
		text = `
		select f.community_id, p.instance_id, p.inbox_url, p.local,
		  c.visibility::text = 'Private', c.local, f.follow_state is distinct from 'Accepted'
		from community_actions f, person p, community c
		where p.id = f.person_id and c.id = f.community_id and f.followed_at is not null`
	}
	rows, err := tx.Query(ctx, text)
	if err != nil {
		return err
	}
	var f followerRow
	_, err = pgx.ForEachRow(rows, []any{&f.community, &f.instance, &f.inbox, &f.local, &f.private, &f.mine, &f.pending}, func() error {
		r.followers[f.community] = append(r.followers[f.community], f)
		return nil
	})
	return err
}

// Reaches says whether Lemmy sends to the instance at all: federation is on, the lists let it through, and it was seen in
// the last three days.
func (r *Rows) Reaches(i InstanceRow) bool {
	switch {
	case !r.Federation, time.Since(i.LastSeen) > deadAfter:
		return false
	case len(r.allowed) > 0:
		return r.allowed[i.ID]
	}
	return !r.blocked[i.ID]
}

// Inboxes are those of the instance that an activity must be posted to, each once, whether or not it is reached.
func (r *Rows) Inboxes(a ActivityRow, i InstanceRow) []string {
	var found []string
	add := func(inbox string) {
		for _, other := range found {
			if other == inbox {
				return
			}
		}
		found = append(found, inbox)
	}
	if a.AllInstances && i.Inbox != nil {
		add(*i.Inbox)
	}
	if a.FollowersOf != nil {
		for _, f := range r.followers[*a.FollowersOf] {
			if f.instance == i.ID && f.mine && !f.local && !(f.private && f.pending) {
				add(f.inbox)
			}
		}
	}
	for _, inbox := range a.Inboxes {
		if u, err := url.Parse(inbox); err == nil && strings.EqualFold(u.Hostname(), i.Domain) {
			add(inbox)
		}
	}
	return found
}

// Expected are the targets of each activity by its row's id, on all instances that are reached. Activities that are for
// nobody are missing. Where an instance begins is not looked at.
func (r *Rows) Expected() map[int64][]Target {
	all := map[int64][]Target{}
	for _, i := range r.Instances {
		if !r.Reaches(i) {
			continue
		}
		for _, a := range r.Activities {
			for _, inbox := range r.Inboxes(a, i) {
				all[a.ID] = append(all[a.ID], Target{i.ID, inbox})
			}
		}
	}
	return all
}

// contextMember is what Lemmy's sender puts first.
const contextMember = `"@context":["https://join-lemmy.org/context.json","https://www.w3.org/ns/activitystreams"],`

// Body is what must arrive: the context first, then what was stored, byte for byte.
func (a ActivityRow) Body() string { return "{" + contextMember + strings.TrimPrefix(a.Data, "{") }

// Signer is the actor that the document names, whose key a receiver checks the signature with.
func (a ActivityRow) Signer() (string, error) {
	var document struct{ Actor string }
	if err := json.Unmarshal([]byte(a.Data), &document); err != nil {
		return "", fmt.Errorf("activity %d: %w", a.ID, err)
	}
	return document.Actor, nil
}
