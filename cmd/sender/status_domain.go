package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/admin/why"
	"github.com/fedsender/fedsender/pg"
)

// domainReport is what `sender status DOMAIN --json` prints.
type domainReport struct {
	pg.InstanceStatus
	pg.InstanceDetail
	Why string   `json:"why"` // why it is where it is
	Do  []string `json:"do"`  // what a person can do; empty: nothing needs to be done

	stranger bool          // the holder is no sender
	silent   time.Duration // the holder hangs for so long
}

// errNoInstance is the answer to a question about a domain that is none.
var errNoInstance = errors.New("there is no instance with this domain; sender status --all lists them, IDN domains are in punycode")

// mustKnow tells a domain of which there is nothing to say from one that is none.
func mustKnow(ctx context.Context, pool *pgxpool.Pool, domain string) error {
	found, err := pg.InstanceStatuses(ctx, pool, pg.InstanceStatusFilter{Domain: domain, Limit: 1, NoHolder: true})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s: %w", domain, errNoInstance)
	}
	return err
}

func readDomainStatus(ctx context.Context, pool *pgxpool.Pool, o statusOptions) (picture, error) {
	found, err := pg.InstanceStatuses(ctx, pool, pg.InstanceStatusFilter{Domain: o.domain})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", o.domain, errNoInstance)
	}
	r := domainReport{InstanceStatus: found[0]}
	if r.InstanceDetail, err = pg.ReadInstanceDetail(ctx, pool, r.ID); err != nil {
		return nil, err
	}
	if r.Holder != "" {
		if r.stranger, r.silent, err = pg.HolderIsDeaf(ctx, pool, r.ID); err != nil {
			return nil, err
		}
	}
	return func(w io.Writer, l look) error {
		now := time.Now()
		r.explain(now)
		if o.json {
			return o.print(w, r)
		}
		return r.write(w, l, now)
	}, nil
}

// explain fills in why and what to do.
func (r *domainReport) explain(now time.Time) {
	instance := why.Instance{InstanceStatus: r.InstanceStatus, Detail: r.InstanceDetail, Stranger: r.stranger, Silent: r.silent}
	r.Why, r.Do = strings.Join(instance.Sentences(now, short), " "), []string{}
	r.advise(now)
	if r.Holder == "" && r.State != "blocked" && r.State != "paused" {
		r.Do = append(r.Do, "if nobody delivers to it for more than 15 s: sender status shows the processes, sender doctor what keeps them")
	}
	if r.stranger || r.silent > 0 {
		r.Do = append(r.Do, "sender doctor says what to end")
	}
	if r.DeadLetters > 0 {
		r.Do = append(r.Do, fmt.Sprintf("it could not take %s: sender dead-letters list --domain %s", activities(r.DeadLetters), r.Domain))
	}
}

func activities(n int64) string {
	if n == 1 {
		return "1 activity"
	}
	return count(n) + " activities"
}

// advise fills in what to do about the state.
func (r *domainReport) advise(now time.Time) {
	switch r.State {
	case "ok":
		if r.Throttled(now) > 0 {
			r.Do = append(r.Do, r.waitForThrottled(), "to give up what waits: "+r.skip())
		}
	case "blocked":
		r.Do = append(r.Do, "to end that, change the list in the application; what waits is sent then, or given up by: "+r.skip())
	case "paused":
		r.Do = append(r.Do, "to go on: sender resume "+r.Domain)
	case "dead":
		r.Do = append(r.Do, "to try at once: sender retry "+r.Domain)
	case "failing":
		r.Do = append(r.Do, r.mend(), "to try at once: sender retry "+r.Domain, "to give up what waits: "+r.skip())
	case "lagging":
		switch {
		case r.Throttled(now) > 0:
			r.Do = append(r.Do, r.waitForThrottled())
		case r.MaxInFlight > 0:
			r.Do = append(r.Do, "raise or clear its limit (instance_control.max_in_flight), if it can take more")
		case r.Holder != "":
			r.Do = append(r.Do, "look again: if BEHIND shrinks it is catching up; if not, it answers more slowly than is published, or processes are short of time (docs/scale-out.md)")
		}
		r.Do = append(r.Do, "to give up what waits: "+r.skip())
	}
}

func (r *domainReport) waitForThrottled() string {
	return "nothing: it gets less at one time from then on; to try at once all the same: sender retry " + r.Domain
}

func (r *domainReport) skip() string { return "sender skip " + r.Domain + " --to latest" }

// mend is what helps against the last answer of an instance that fails.
func (r *domainReport) mend() string {
	switch code := r.LastHTTPStatus; {
	case code == 401 || code == 403:
		return "it does not take our signature: check that it can fetch the actor's key from here, and the clock: sender doctor"
	case code == 404 || code == 405 || code == 410:
		return "its inbox is not where the application says: let the application fetch its actors anew"
	case code >= 300 && code < 400:
		return "it has moved: let the application fetch its actors anew"
	case code == 0 && strings.Contains(r.LastError, "DNS"):
		return "if the name is right and others see it, look at DNS here: sender doctor --peer " + r.Domain
	}
	return "nothing, if its server is down: what waits is sent when it is back"
}

func (r *domainReport) write(w io.Writer, l look, now time.Time) error {
	const label = 14
	room := 0
	if l.width > 0 {
		room = l.width - label
	}
	line := func(name, text, style string) {
		for _, part := range wrap(text, room) {
			fmt.Fprintf(w, "%s%s\n", l.paint(dim, fmt.Sprintf("%-*s", label, name)), l.paint(style, part))
			name = ""
		}
	}
	line("instance", r.Domain, bold)
	line("state", r.State, stateStyles[r.State])
	line("why", r.Why, "")
	for i, do := range r.Do {
		name := "to do"
		if i > 0 {
			name = ""
		}
		line(name, do, bold)
	}
	if r.Note != "" {
		line("note", r.Note, "")
	}
	line("behind", fmt.Sprintf("%s, cursor at %s", plural(r.IDsBehind, "id"), count(r.CursorID)), "")
	line("lag", short(seconds(r.LagSeconds)), "")
	line("fails", count(int64(r.FailCount)), "")
	line("next try", nextTry(r.NextRetryAt, now), "")
	line("last success", ago(r.LastSuccessAt, now), "")
	lastError := orDash(r.LastError)
	if !r.LastErrorAt.IsZero() && r.LastError != "" {
		lastError += " (" + ago(r.LastErrorAt, now) + ")"
	}
	line("last error", lastError, "")
	line("delivered by", orDash(r.Holder), "")
	letters := count(r.DeadLetters)
	if r.Redeliveries > 0 {
		letters += "; sent again: " + count(r.Redeliveries)
	}
	line("dead letters", letters, "")
	return nil
}

// nextTry is how long until then: "in 5m20s", "due", or a dash.
func nextTry(at, now time.Time) string {
	switch {
	case at.IsZero():
		return "-"
	case !at.After(now):
		return "due"
	}
	return "in " + short(at.Sub(now))
}

func ago(at, now time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return short(now.Sub(at)) + " ago"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
