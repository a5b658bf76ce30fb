package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/worker"
)

const (
	// partBytes is about what is in memory of bodies that are read to be made ready; a body has 1 MiB at most.
	partBytes = 4 << 20
	// firstPart is how many bodies are read before their size is known.
	firstPart   = 32
	largestPart = 1000
	// maxKeys bounds the parsed keys, 5 KiB each.
	maxKeys = 4096
	// keyAge is how long a parsed key is used; a changed one is known at once through the change log, and within a minute
	// where no trigger tells of it.
	keyAge = time.Hour
	// reasonAge is how long it is believed that there is no key, or a broken one: no trigger tells of an actor that came.
	reasonAge = 10 * time.Second
)

// prepared is an activity with its document, digested once for all receivers.
type prepared struct {
	activity *worker.Activity
	document *deliver.Document
	actorID  int64
	keyID    string
	route    *route // nil: not traced
}

// signingKey is an actor's key, or the reason why there is none.
type signingKey struct {
	key    *deliver.Key
	reason string
	readAt time.Time
}

func (k signingKey) age() time.Duration {
	if k.reason != "" {
		return reasonAge
	}
	return keyAge
}

type keyName struct {
	actorID int64
	keyID   string // overrides the actor's
}

func newDocuments(limit Bytes) *otter.Cache[int64, *prepared] {
	return otter.Must(&otter.Options[int64, *prepared]{
		MaximumWeight: uint64(limit),
		Weigher: func(_ int64, p *prepared) uint32 {
			return uint32(512 + len(p.document.Body) + 8*(len(p.activity.Footprint.Reads)+len(p.activity.Footprint.Writes)))
		},
	})
}

// newKeys makes a cache that is read without a lock: every delivery asks it.
func newKeys() *otter.Cache[keyName, signingKey] {
	return otter.Must(&otter.Options[keyName, signingKey]{MaximumSize: maxKeys})
}

// forgetKeys drops what is known of actors' keys; nil: of all.
func (e *engine) forgetKeys(actors []int64) {
	e.keyChanges.Add(1)
	if actors == nil {
		e.keys.InvalidateAll()
		return
	}
	for name := range e.keys.Keys() {
		if slices.Contains(actors, name.actorID) {
			e.keys.Invalidate(name)
		}
	}
}

// build checks and digests an activity. The error says why it can't be sent to anybody.
func build(row *pg.Activity) (*prepared, error) {
	document, err := deliver.NewDocument([]byte(row.Body))
	if err != nil {
		return nil, errUnpreparable(err.Error())
	}
	return &prepared{
		activity: &worker.Activity{ID: row.ID, PublishedAt: row.PublishedAt, Footprint: worker.FootprintOf(document.Body)},
		document: document, actorID: row.ActorID, keyID: keyID(row.KeyID, document.Body),
	}, nil
}

// keyID is what overrides the actor's. A fragment comes behind the actor as the activity spells it.
func keyID(given string, body []byte) string {
	if !strings.HasPrefix(given, "#") {
		return given
	}
	if actor := worker.ActorOf(body); actor != "" {
		return actor + given
	}
	return ""
}

// prepare makes an activity ready to be sent and keeps it. reason says why it can't be sent to anybody; err is errGone or
// of the context.
func (e *engine) prepare(ctx context.Context, row *pg.Activity) (activity *worker.Activity, reason string, err error) {
	p, err := build(row)
	if err != nil {
		return nil, err.Error(), nil
	}
	key, err := e.key(ctx, row.ID, keyName{p.actorID, p.keyID})
	if err != nil || key.reason != "" {
		return nil, key.reason, err
	}
	p.route = e.tracing.activity(ctx, row)
	e.documents.Set(row.ID, p)
	return p.activity, "", nil
}

// eachActivity reads activities in parts of about partBytes, makes them ready and gives them to use, with the reason of
// those that can't be sent to anybody. It leaves out what is gone.
func (e *engine) eachActivity(ctx context.Context, ids []int64, use func(row *pg.Activity, activity *worker.Activity, reason string)) error {
	ids = unique(ids)
	for most := firstPart; len(ids) > 0; {
		part := ids[:min(most, len(ids))]
		rows, err := pg.ReadActivities(ctx, e.pool, part)
		if err != nil {
			return err
		}
		bytes := 1
		for i := range rows {
			activity, reason, err := e.prepare(ctx, &rows[i])
			if errors.Is(err, errGone) {
				continue
			}
			if err != nil {
				return err
			}
			use(&rows[i], activity, reason)
			bytes += len(rows[i].Body)
		}
		ids = ids[len(part):]
		most = min(max(1, len(part)*partBytes/bytes), largestPart)
	}
	return nil
}

// key returns the key of who signs an activity. It tries until the database has answered; errGone says that the activity
// is no more.
func (e *engine) key(ctx context.Context, activityID int64, name keyName) (signingKey, error) {
	if key, ok := e.keys.GetIfPresent(name); ok && time.Since(key.readAt) < key.age() {
		return key, nil
	}
	changes := e.keyChanges.Load()
	var actor pg.Actor
	var gone bool
	err := e.insist(ctx, "could not read an actor's key; trying again", func(ctx context.Context) (err error) {
		actor, gone, err = pg.ReadActor(ctx, e.pool, activityID)
		return err
	})
	if err == nil && gone {
		err = errGone
	}
	if err != nil {
		return signingKey{}, err
	}
	key := parseKey(actor, name)
	key.readAt = time.Now()
	e.keys.Set(name, key)
	if e.keyChanges.Load() != changes {
		e.keys.Invalidate(name) // what was read may be older than the change
	}
	return key, nil
}

func parseKey(actor pg.Actor, name keyName) signingKey {
	id := actor.KeyID
	if name.keyID != "" {
		id = name.keyID
	}
	switch {
	case name.actorID == 0:
		return signingKey{reason: "the activity's row names no actor who could sign it: that column is null"}
	case !actor.Found && name.keyID != "":
		return signingKey{reason: fmt.Sprintf("there is no actor here that could sign as %s", name.keyID)}
	case !actor.Found:
		return signingKey{reason: fmt.Sprintf("there is no actor with id %d", name.actorID)}
	case actor.PrivateKeyPEM == "":
		return signingKey{reason: fmt.Sprintf("the actor of %s has no private key", id)}
	}
	key, err := deliver.ParseKey(id, actor.PrivateKeyPEM)
	if err != nil {
		return signingKey{reason: err.Error()}
	}
	return signingKey{key: key}
}

// errGone says that an activity was deleted before it was sent.
var errGone = errors.New("the activity was deleted before it could be sent")

// errUnpreparable carries a reason why an activity can't be sent to anybody.
type errUnpreparable string

func (e errUnpreparable) Error() string { return string(e) }

// document returns what to send, from memory or read again. Several deliveries that need the same one read it once.
func (e *engine) document(ctx context.Context, id int64) (*prepared, signingKey, error) {
	p, err := e.documents.Get(ctx, id, otter.LoaderFunc[int64, *prepared](e.loadDocument))
	if err != nil {
		return nil, signingKey{}, err
	}
	key, err := e.key(ctx, id, keyName{p.actorID, p.keyID})
	if err == nil && key.reason != "" {
		err = errUnpreparable(key.reason)
	}
	return p, key, err
}

func (e *engine) loadDocument(ctx context.Context, id int64) (*prepared, error) {
	rows, err := pg.ReadActivities(ctx, e.pool, []int64{id})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errGone
	}
	p, err := build(&rows[0])
	if err == nil {
		p.route = e.tracing.activity(ctx, &rows[0])
	}
	return p, err
}
