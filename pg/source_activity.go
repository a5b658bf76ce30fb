package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Activity is a row of fedsender.source_activity. What stands below XID is empty where only the rest was asked for.
type Activity struct {
	ID           int64
	PublishedAt  time.Time
	Inboxes      []string
	FollowersOf  []int64
	AllInstances bool
	XID          uint64 // the inserting transaction, for [Start.Older]

	ActorID     int64
	KeyID       string // overrides the actor's; with # in front: behind the id of the actor in Body; empty: the actor's own
	Body        string
	Traceparent string // W3C Trace Context, as the application wrote it
}

// activityColumns are those that decide whom an activity is for. What it costs a source to find out the rest, a million rows
// that nobody wants must not pay.
//
// Applications write these rows. A null in an array or a date that a time.Time can't be would be an error of the whole
// read, of every row with it and for ever: nulls are passed over and dates are brought near. Nulls are looked for here: where
// an array is an expression of the view's, each mention of it is planned and computed anew.
var activityColumns = `id, ` + near("published_at") + `, send_inboxes, send_followers_of, send_all_instances, xid`

// activityText is the rest. It cuts what is too long to be sent, so that a body of any size costs no memory: 1 MiB is the
// limit, and a character more tells that it was passed. The id of the actor is among it because an adapter may have to compute
// it, for more than all the other columns together.
const activityText = `actor_id, coalesce(key_id, ''), left(body, 1048577), coalesce(left(traceparent, 128), '')`

// scanActivity scans activityColumns.
func scanActivity(row pgx.CollectableRow) (a Activity, err error) {
	err = a.scan(row)
	return a, err
}

// scanWhole scans activityColumns and activityText.
func scanWhole(row pgx.CollectableRow) (a Activity, err error) {
	err = a.scan(row, &a.ActorID, &a.KeyID, &a.Body, &a.Traceparent)
	return a, err
}

func (a *Activity) scan(row pgx.CollectableRow, rest ...any) error {
	var inboxes pgtype.FlatArray[*string]
	var followersOf pgtype.FlatArray[*int64]
	err := row.Scan(append([]any{&a.ID, &a.PublishedAt, &inboxes, &followersOf, &a.AllInstances, &a.XID}, rest...)...)
	a.Inboxes, a.FollowersOf = withoutNulls(inboxes), withoutNulls(followersOf)
	return err
}

// ReadRange returns the activities in (after, through], without actors, keys and bodies, in the order of their ids, at most limit of them.
func ReadRange(ctx context.Context, q Querier, after, through int64, limit int) ([]Activity, error) {
	rows, err := q.Query(ctx, `
		select `+activityColumns+`
		from fedsender.source_activity
		where id > $1 and id <= $2
		order by id
		limit $3`, after, through, limit)
	return collect("read activities", rows, err, scanActivity)
}

// HighestOf returns the highest of the ids that is one of an activity; 0: none is.
func HighestOf(ctx context.Context, q Querier, ids []int64) (highest int64, err error) {
	err = q.QueryRow(ctx, `select coalesce(max(id), 0) from fedsender.source_activity where id = any ($1::bigint[])`, ids).Scan(&highest)
	return highest, wrap("look for activities that are held", err)
}

// ReadActivities returns the activities with these ids, with bodies. Ids that are gone are missing.
func ReadActivities(ctx context.Context, q Querier, ids []int64) ([]Activity, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := q.Query(ctx, `
		select `+activityColumns+`, `+activityText+`
		from fedsender.source_activity
		where id = any ($1)
		order by id`, ids)
	return collect("read activities by id", rows, err, scanWhole)
}
