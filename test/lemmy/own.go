package lemmy

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc/pool"
)

// Own is Lemmy's own sender, played: one worker for each instance that it reaches, which takes the ids from its cursor to
// the highest one after the other, posts one activity at a time, and takes an id that it can't see for a hole for ever.
// It reads the highest id every Poll and writes the cursors as Lemmy does.
//
// What it sends has the wire form that the simulated fediverse demands, not Lemmy's.
type Own struct {
	World  *World
	Client *http.Client  // reaches the simulated instances by their names
	Poll   time.Duration // 0: 10 ms, where Lemmy has 15 s on average
}

// Run sends until ctx ends; then what is in flight is finished and every cursor is written.
func (o *Own) Run(ctx context.Context) error {
	rows, err := o.World.Read(context.WithoutCancel(ctx)) // a clean stop lets this end too
	if err != nil {
		return err
	}
	workers := pool.New().WithErrors()
	for _, i := range rows.Instances {
		if rows.Reaches(i) {
			workers.Go(func() error {
				// A clean stop finishes the round that has begun.
				return (&ownWorker{Own: o, instance: i, rows: rows}).run(ctx, context.WithoutCancel(ctx))
			})
		}
	}
	return workers.Wait()
}

// ownWorker sends to one instance.
type ownWorker struct {
	*Own
	instance  InstanceRow
	rows      *Rows // followers and lists of the start
	cursor    int64
	fails     int
	retried   *time.Time
	published *time.Time
}

// run ends with stop; work outlives it by one activity.
func (o *ownWorker) run(stop, work context.Context) error {
	if err := o.load(work); err != nil {
		return err
	}
	poll := o.Poll
	if poll == 0 {
		poll = 10 * time.Millisecond
	}
	for stop.Err() == nil {
		newest, err := o.newest(work)
		if err != nil {
			return err
		}
		for id := o.cursor + 1; id <= newest && stop.Err() == nil; id++ {
			if err := o.settle(stop, work, id); err != nil {
				return err
			}
		}
		wait(stop, poll)
	}
	return o.save(work)
}

func (o *ownWorker) newest(ctx context.Context) (id int64, err error) {
	err = o.World.DB.QueryRow(ctx, `select coalesce(max(id), 0) from sent_activity`).Scan(&id)
	return id, err
}

// load reads the state; an instance without one begins at the newest id.
func (o *ownWorker) load(ctx context.Context) error {
	var cursor *int64
	err := o.World.DB.QueryRow(ctx, o.World.SQL(`
		select last_successful_id, fail_count, {last_retry}, {last_published}
		from federation_queue_state
		where instance_id = $1`), o.instance.ID).Scan(&cursor, &o.fails, &o.retried, &o.published)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	}
	if cursor != nil {
		o.cursor = *cursor
		return nil
	}
	if o.cursor, err = o.newest(ctx); err != nil {
		return err
	}
	return o.save(ctx)
}

// save writes the state, whatever is there.
func (o *ownWorker) save(ctx context.Context) error {
	return o.World.Exec(ctx, `
		insert into federation_queue_state (instance_id, last_successful_id, fail_count, {last_retry}, {last_published})
		values ($1, $2, $3, $4, $5)
		on conflict (instance_id) do update
		set last_successful_id = excluded.last_successful_id, fail_count = excluded.fail_count,
		  {last_retry} = excluded.{last_retry}, {last_published} = excluded.{last_published}`,
		o.instance.ID, o.cursor, o.fails, o.retried, o.published)
}

// settle sends one id and moves the cursor over it. When stop ends before it is delivered, the cursor stays.
func (o *ownWorker) settle(stop, work context.Context, id int64) error {
	rows, _ := o.World.DB.Query(work, o.World.SQL(`
		select id, ap_id, data::text, {published}, send_inboxes, send_community_followers_of, send_all_instances, actor_type::text, actor_apub_id
		from sent_activity
		where id = $1`), id) // CollectExactlyOneRow returns the error
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[ActivityRow])
	if errors.Is(err, pgx.ErrNoRows) {
		o.cursor = id
		return nil
	}
	if err != nil {
		return err
	}
	inboxes := o.rows.Inboxes(a, o.instance)
	for _, inbox := range inboxes {
		for !o.post(work, a, inbox) {
			o.fails++
			now := time.Now()
			o.retried = &now
			if err := o.save(work); err != nil {
				return err
			}
			wait(stop, ownBackoff(o.fails))
			if stop.Err() != nil {
				return nil
			}
		}
	}
	o.cursor, o.published = id, &a.Published
	if len(inboxes) == 0 {
		return nil
	}
	o.fails = max(0, o.fails-1)
	return o.save(work)
}

// ownBackoff is Lemmy's curve.
func ownBackoff(fails int) time.Duration {
	if fails <= 1 {
		return 0
	}
	seconds := min(math.Pow(1.25, float64(fails-1)), (24 * time.Hour).Seconds())
	return time.Duration(seconds * float64(time.Second))
}

// post says whether the delivery is settled. An activity without a signer is, with Lemmy.
func (o *ownWorker) post(ctx context.Context, a ActivityRow, inbox string) bool {
	actor, err := a.Signer()
	if err != nil {
		return true
	}
	var key *rsa.PrivateKey
	for _, local := range o.World.Actors {
		if local.APID == actor {
			key = local.Key
		}
	}
	if key == nil {
		return true
	}
	request, err := signed(ctx, inbox, a.Body(), actor+"#main-key", key)
	if err != nil {
		return true
	}
	response, err := o.Client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		return false
	default:
		return code/100 == 2 || code/100 == 4
	}
}

// signed makes the request that every server takes.
func signed(ctx context.Context, inbox, body, keyID string, key *rsa.PrivateKey) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, inbox, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(body))
	date, digest := time.Now().UTC().Format(http.TimeFormat), "SHA-256="+base64.StdEncoding.EncodeToString(sum[:])
	text := fmt.Sprintf("(request-target): post %s\nhost: %s\ndate: %s\ndigest: %s", r.URL.RequestURI(), r.URL.Host, date, digest)
	hash := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, hash[:])
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/activity+json")
	r.Header.Set("User-Agent", "Lemmy-played/0; +https://"+Home)
	r.Header.Set("Date", date)
	r.Header.Set("Digest", digest)
	r.Header.Set("Signature", fmt.Sprintf(`keyId="%s",algorithm="rsa-sha256",headers="(request-target) host date digest",signature="%s"`,
		keyID, base64.StdEncoding.EncodeToString(signature)))
	return r, nil
}

// wait returns after d or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
