package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/pg"
)

// domainReport is what `sender status DOMAIN --json` prints.
type domainReport struct {
	pg.InstanceStatus
	pg.InstanceDetail
	Why string   `json:"why"` // why it is where it is
	Do  []string `json:"do"`  // what a person can do; empty: nothing needs to be done
}

// errNoInstance is the answer to a question about a domain that is none.
var errNoInstance = errors.New("there is no instance with this domain; sender status --all lists them, IDN domains are in punycode")

func (a *app) domainStatus(ctx context.Context, pool *pgxpool.Pool, w io.Writer, l look, o statusOptions) error {
	found, err := pg.InstanceStatuses(ctx, pool, pg.InstanceStatusFilter{Domain: o.domain})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%s: %w", o.domain, errNoInstance)
	}
	r := domainReport{InstanceStatus: found[0]}
	if r.InstanceDetail, err = pg.ReadInstanceDetail(ctx, pool, r.ID); err != nil {
		return err
	}
	now := time.Now()
	r.explain(now)
	if o.json {
		return o.print(w, r)
	}
	return r.write(w, l, now)
}

// explain fills in why and what to do.
func (r *domainReport) explain(now time.Time) {
	r.Do = []string{}
	switch r.State {
	case "blocked":
		r.explainBlocked()
	case "paused":
		r.explainPaused(now)
	case "dead":
		r.explainDead()
	case "failing":
		r.explainFailing(now)
	case "lagging":
		r.explainLagging(now)
	default:
		r.Why = "it takes what is sent to it"
		if r.LastError != "" && r.LastErrorAt.After(r.LastSuccessAt) {
			r.Why = "its last answer was no success, but holds nothing up: what it was for is tried a few times, then given up"
		} else if r.IDsBehind > 0 {
			r.Why += "; the ids that it is behind are on their way, or for others"
		}
	}
	if r.Holder == "" && r.State != "blocked" && r.State != "paused" {
		r.Why += "; no process delivers to it at this moment"
		r.Do = append(r.Do, "if that lasts for more than 15 s: sender status shows the processes, sender doctor what keeps them")
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

func (r *domainReport) explainBlocked() {
	r.Why = "it is blocked: nothing is sent, and its cursor stands still"
	if r.Listed == "allow" {
		r.Why = "there is an allow list and it is not on it: nothing is sent, and its cursor stands still"
	}
	r.Do = append(r.Do, "to end that, change the list in the application; what waits is sent then, or given up by: sender skip "+r.Domain+" --to latest")
}

func (r *domainReport) explainPaused(now time.Time) {
	until := "until somebody resumes it"
	if r.PausedUntil.After(now) {
		until = "for " + short(r.PausedUntil.Sub(now)) + " more"
	}
	r.Why = "it is paused " + until + ": nothing is sent, and its cursor stands still"
	if r.Note != "" {
		r.Why += "; note: " + r.Note
	}
	r.Do = append(r.Do, "to go on: sender resume "+r.Domain)
}

func (r *domainReport) explainDead() {
	r.Why = "it has given no sign of life for 3 days, while all tries failed: it is tried once a day"
	if r.Gone {
		r.Why = "it said that its inbox is gone for good: it is tried once a day"
	}
	r.Do = append(r.Do, "any sign of life brings it back by itself; to try at once: sender retry "+r.Domain)
}

func (r *domainReport) explainFailing(now time.Time) {
	r.Why = fmt.Sprintf("%s in a row failed, the last with: %s", tries(r.FailCount), orDash(r.LastError))
	if r.NextRetryAt.After(now) {
		r.Why += "; it is tried again in " + short(r.NextRetryAt.Sub(now)) + ", and after each failure later, up to a day"
	}
	switch code := r.LastHTTPStatus; {
	case code == 401 || code == 403:
		r.Do = append(r.Do, "it does not take our signature: check that it can fetch the actor's key from here, and the clock: sender doctor")
	case code == 404 || code == 405 || code == 410:
		r.Do = append(r.Do, "its inbox is not where the application says: let the application fetch its actors anew")
	case code >= 300 && code < 400:
		r.Do = append(r.Do, "it has moved: let the application fetch its actors anew")
	case code == 0 && strings.Contains(r.LastError, "DNS"):
		r.Do = append(r.Do, "if the name is right and others see it, look at DNS here: sender doctor --peer "+r.Domain)
	default:
		r.Do = append(r.Do, "nothing, if its server is down: what waits is sent when it is back")
	}
	r.Do = append(r.Do, "to try at once: sender retry "+r.Domain, "to give up what waits: sender skip "+r.Domain+" --to latest")
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return count(int64(n)) + " tries"
}

func (r *domainReport) explainLagging(now time.Time) {
	r.Why = fmt.Sprintf("it does not fail, but what waits for it is up to %s old", short(seconds(r.LagSeconds)))
	switch {
	case r.NotBefore.After(now):
		r.Why += "; it asked to wait for " + short(r.NotBefore.Sub(now)) + " more (429 or 503 with Retry-After)"
		r.Do = append(r.Do, "nothing: it gets less at one time from then on; to try at once all the same: sender retry "+r.Domain)
	case r.MaxInFlight > 0:
		r.Why += fmt.Sprintf("; it gets at most %d at one time (instance_control.max_in_flight)", r.MaxInFlight)
		r.Do = append(r.Do, "raise or clear that limit, if it can take more")
	case r.Holder != "":
		r.Do = append(r.Do, "look again: if BEHIND shrinks it is catching up; if not, it answers more slowly than is published, or processes are short of time (docs/scale-out.md)")
	}
	r.Do = append(r.Do, "to give up what waits: sender skip "+r.Domain+" --to latest")
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
	line("dead letters", count(r.DeadLetters), "")
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
