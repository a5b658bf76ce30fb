package lemmy

import (
	"context"
	"fmt"
)

// Activity is a row of sent_activity to be.
type Activity struct {
	Name         string // the end of its id
	Actor        Actor
	Inboxes      []string
	FollowersOf  Actor // a community; its zero value: nobody's
	AllInstances bool
	Data         string // the document; empty: an Announce in the order that Lemmy writes
}

// ActivityID is the ActivityPub id of the activity with that name.
func ActivityID(name string) string { return "https://" + Home + "/activities/announce/" + name }

// Document is what Lemmy stores: without @context, the members in the order of its own structs, the id not first.
func (a Activity) Document() string {
	if a.Data != "" {
		return a.Data
	}
	return fmt.Sprintf(`{"actor":"%s","to":["https://www.w3.org/ns/activitystreams#Public"],"object":{"type":"Like","zebra":1.50,"id":"%s/object","apple": "ä\u00e4"},`+
		`"cc":["%s/followers"],"type":"Announce","id":"%s"}`, a.Actor.APID, ActivityID(a.Name), a.Actor.APID, ActivityID(a.Name))
}

const insertActivity = `
	insert into sent_activity
	  (ap_id, data, sensitive, send_inboxes, send_community_followers_of, send_all_instances, actor_type, actor_apub_id)
	values ($1, $2::text::json, false, $3, nullif($4, 0), $5, $6::text::actor_type_enum, $7)
	returning id`

// Insertion is the statement that inserts it and returns the id of its row, with the arguments.
func (a Activity) Insertion() (statement string, args []any) {
	inboxes := a.Inboxes
	if inboxes == nil {
		inboxes = []string{}
	}
	return insertActivity, []any{ActivityID(a.Name), a.Document(), inboxes, a.FollowersOf.ID, a.AllInstances, a.Actor.Kind, a.Actor.APID}
}

// Send inserts it and returns the id of its row. It is safe for several goroutines.
func (w *World) Send(ctx context.Context, a Activity) (id int64, err error) {
	statement, args := a.Insertion()
	if err := w.DB.QueryRow(ctx, statement, args...).Scan(&id); err != nil {
		return 0, fmt.Errorf("insert activity %s: %w", a.Name, err)
	}
	return id, nil
}

// SendLate inserts it in a transaction that stays open: the id is drawn, and nobody sees the row before commit is called.
func (w *World) SendLate(ctx context.Context, a Activity) (id int64, commit func() error, err error) {
	tx, err := w.DB.Begin(ctx)
	if err != nil {
		return 0, nil, err
	}
	statement, args := a.Insertion()
	if err := tx.QueryRow(ctx, statement, args...).Scan(&id); err != nil {
		_ = tx.Rollback(ctx) // the first error is what counts
		return 0, nil, fmt.Errorf("insert activity %s: %w", a.Name, err)
	}
	return id, func() error { return tx.Commit(ctx) }, nil
}
