package pg

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
)

// maxChanges is how many changes are read one by one; beyond it everything is loaded anew, which costs less.
const maxChanges = 20_000

// Changes is what was committed beside activities since the last read. Each list may name a thing more than once.
type Changes struct {
	Snapshot     Snapshot // what was visible
	Reload       bool     // too much changed, or it was pruned: load everything anew
	Pairs        []Pair
	Tombstones   []Tombstone
	Instances    []int32
	Lists        bool
	Actors       []int64
	Controls     []int32
	Cursors      []int32 // moved by an operator
	Retries      []int32
	Redeliveries []int32
}

// Any says whether there is anything but the snapshot.
func (c *Changes) Any() bool {
	return c.Reload || c.Lists || len(c.Pairs)+len(c.Tombstones)+len(c.Instances)+len(c.Actors)+len(c.Controls)+
		len(c.Cursors)+len(c.Retries)+len(c.Redeliveries) > 0
}

// queueChanges reads all that is visible now and was not in the last snapshot. Ids or times instead would miss what
// commits late.
func queueChanges(batch *pgx.Batch, last Snapshot, into *Changes) {
	batch.Queue(`
		select pg_current_snapshot()::text, c.kind, c.actor_id, c.instance_id
		from (values (1)) as always
		left join fedsender.change c
		  on c.xid >= pg_snapshot_xmin($1::text::pg_snapshot)
		  and not pg_visible_in_snapshot(c.xid, $1::text::pg_snapshot)
		limit $2`, last.String(), maxChanges+1).Query(into.scan)
	batch.Queue(freshTombstones, last.String(), maxChanges+1).Query(func(rows pgx.Rows) (err error) {
		into.Tombstones, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Tombstone])
		into.Reload = into.Reload || len(into.Tombstones) > maxChanges
		return err
	})
}

const freshTombstones = `
	select actor_id, instance_id, inbox, is_shared, through_id
	from fedsender.follower_tombstone
	where xid >= pg_snapshot_xmin($1::text::pg_snapshot)
	  and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
	limit $2`

// ReadTombstones returns those that were not visible in the snapshot. Who reads followers reads them afterwards: a
// follower that is gone by then is among them.
func ReadTombstones(ctx context.Context, q Querier, since Snapshot) ([]Tombstone, error) {
	rows, err := q.Query(ctx, freshTombstones, since.String(), nil)
	return collect("read who left", rows, err, pgx.RowToStructByPos[Tombstone])
}

func (c *Changes) scan(rows pgx.Rows) error {
	var (
		snapshot string
		kind     *string
		actor    *int64
		instance *int32
		count    int
	)
	_, err := pgx.ForEachRow(rows, []any{&snapshot, &kind, &actor, &instance}, func() error {
		if kind != nil {
			c.add(*kind, actor, instance)
			count++
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.Reload = c.Reload || count > maxChanges
	c.Snapshot, err = ParseSnapshot(snapshot)
	return err
}

func (c *Changes) add(kind string, actor *int64, instance *int32) {
	switch {
	case kind == "list":
		c.Lists = true
	case kind == "actor" && actor != nil:
		c.Actors = append(c.Actors, *actor)
	case kind == "follower" && actor != nil && instance != nil:
		c.Pairs = append(c.Pairs, Pair{*actor, *instance})
	case instance == nil:
		c.Reload = true // a kind that this version does not know, or a statement that changed too much to log
	case kind == "instance":
		c.Instances = append(c.Instances, *instance)
	case kind == "control":
		c.Controls = append(c.Controls, *instance)
	case kind == "cursor":
		c.Cursors = append(c.Cursors, *instance)
	case kind == "retry":
		c.Retries = append(c.Retries, *instance)
	case kind == "redelivery":
		c.Redeliveries = append(c.Redeliveries, *instance)
	default:
		c.Reload = true
	}
}

// Loaded is a consistent view of everything that decides whom an activity is for.
type Loaded struct {
	Snapshot     Snapshot
	Allow, Block []ListEntry
	Instances    iter.Seq[Instance]
	Followers    iter.Seq[Follower] // distinct, ordered by actor and instance
	Tombstones   iter.Seq[Tombstone]
}

// lockLoaded locks all tables that Load reads. It takes long, and who waits for a lock after he has held others for long can
// have an upgrade of the application's fail: see lockPatience.
const lockLoaded = `
	select
	from fedsender.source_domain_list, fedsender.source_instance, fedsender.source_follower, fedsender.follower_tombstone
	limit 0`

// stale tells of tables that were rewritten or replaced after the transaction's snapshot was taken, while it waited for the
// lock: to the snapshot they are empty. What pg_relation_filenode reads is not of the snapshot. See the Postgres manual,
// 13.6: "Caveats" of data consistency.
const stale = `
	select exists (
		select
		from pg_locks l
		left join pg_class c on c.oid = l.relation
		where l.pid = pg_backend_pid() and l.locktype = 'relation'
			and (c.oid is null or c.relkind = 'r' and c.relfilenode <> 0 and c.relfilenode <> pg_relation_filenode(c.oid)))`

// loadAttempts is how often a table may be rewritten at the moment that Load comes.
const loadAttempts = 5

// Load reads it all in one snapshot and hands it to use, which must take the sequences in the order of the fields, each
// once. An error of the database is returned after use, so what use built counts only without an error.
func Load(ctx context.Context, db Beginner, use func(*Loaded)) error {
	ctx = long(ctx)
	for range loadAttempts {
		tx, err := db.Begin(ctx)
		if err != nil {
			return fmt.Errorf("load followers: %w", err)
		}
		whole, err := loadWhole(ctx, tx, use)
		_ = tx.Rollback(ctx) // it only reads
		if whole || err != nil {
			return err
		}
	}
	return errors.New("load followers: tables that it reads are rewritten all the time (ALTER TABLE, TRUNCATE)")
}

// loadWhole reports false, and has not called use, if the snapshot doesn't show a table as it is.
func loadWhole(ctx context.Context, tx pgx.Tx, use func(*Loaded)) (whole bool, err error) {
	if _, err := tx.Exec(ctx, `set transaction isolation level repeatable read, read only`); err != nil {
		return false, fmt.Errorf("load followers: %w", err)
	}
	if _, err := tx.Exec(ctx, lockLoaded); err != nil {
		return false, fmt.Errorf("load followers: %w", err)
	}
	var rewritten bool
	if err := tx.QueryRow(ctx, stale).Scan(&rewritten); err != nil {
		return false, fmt.Errorf("load followers: %w", err)
	}
	if rewritten {
		return false, nil
	}
	return true, load(ctx, tx, use)
}

func load(ctx context.Context, tx pgx.Tx, use func(*Loaded)) (err error) {
	l := &Loaded{}
	var text string
	if err := tx.QueryRow(ctx, `select pg_current_snapshot()::text`).Scan(&text); err != nil {
		return fmt.Errorf("load followers: %w", err)
	}
	if l.Snapshot, err = ParseSnapshot(text); err != nil {
		return err
	}
	if l.Allow, l.Block, err = ReadLists(ctx, tx); err != nil {
		return err
	}
	var failed error
	l.Instances = stream(ctx, tx, &failed, scanInstance, `select `+instanceColumns+` from fedsender.source_instance`)
	l.Followers = stream(ctx, tx, &failed, scanFollower, `
		select distinct actor_id, instance_id, inbox, is_shared
		from fedsender.source_follower
		order by actor_id, instance_id`)
	l.Tombstones = stream(ctx, tx, &failed, pgx.RowToStructByPos[Tombstone], `
		select actor_id, instance_id, inbox, is_shared, through_id
		from fedsender.follower_tombstone`)
	use(l)
	if failed != nil {
		return fmt.Errorf("load followers: %w", failed)
	}
	return nil
}

func scanFollower(row pgx.CollectableRow) (f Follower, err error) {
	err = row.Scan(&f.ActorID, &f.InstanceID, &f.Inbox, &f.Shared)
	return f, err
}

// stream yields rows as they come, so that a million of them are never in memory twice.
func stream[T any](ctx context.Context, q Querier, failed *error, scan pgx.RowToFunc[T], sql string) iter.Seq[T] {
	return func(yield func(T) bool) {
		if *failed != nil {
			return // what fails next only says that the transaction is aborted
		}
		rows, err := q.Query(ctx, sql)
		if err != nil {
			*failed = err
			return
		}
		defer rows.Close()
		for rows.Next() {
			value, err := scan(rows)
			if err != nil {
				*failed = err
				return
			}
			if !yield(value) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			*failed = err
		}
	}
}
