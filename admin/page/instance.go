package page

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
)

const (
	// waitingLooked is how many ids behind a cursor are looked at for what waits: some ten milliseconds' worth.
	waitingLooked = 2000
	// waitingShown is what a person reads.
	waitingShown = 12
	// lettersBeside is how many dead letters stand on the page of their instance.
	lettersBeside = 5
)

// instanceRead is one instance as all viewers of it see it. Problem says what is missing.
type instanceRead struct {
	pg.InstanceStatus
	Detail   pg.InstanceRecord
	Waiting  pg.Waiting
	Letters  []pg.DeadLetter
	Problems []string
	err      error
}

// instancePage is what its template shows.
type instancePage struct {
	*instanceRead
	Process *pg.NamedProcess // the holder; nil: none, or no sender
	Why     []string
	Actions []action
	MayAct  bool
	Off     bool
}

// PageTitle is the instance.
func (i *instancePage) PageTitle() string { return i.Domain }

func (p *Page) oneInstance(ctx context.Context, r *http.Request) (any, error) {
	domain := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("domain")))
	s, err := p.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	read, err := p.instances.of(domain).get(ctx, nil, func(ctx context.Context, _ **instanceRead) *instanceRead {
		return p.readInstance(ctx, domain)
	})
	if err == nil {
		err = read.err
	}
	if err != nil {
		return nil, err
	}
	shown := &instancePage{instanceRead: read, Actions: actions, MayAct: p.guard.HasToken(), Off: s.Queue.Off}
	shown.hold(s)
	shown.Why = shown.why(time.Now())
	return shown, nil
}

// hold adds who holds it, which is read for all instances at once.
func (i *instancePage) hold(s *Snapshot) {
	read := *i.instanceRead
	read.Holder = s.holders[read.ID]
	i.instanceRead = &read
	for n := range s.Processes {
		if s.Processes[n].Name == read.Holder {
			i.Process = &s.Processes[n]
		}
	}
}

func (p *Page) readInstance(ctx context.Context, domain string) *instanceRead {
	one := &instanceRead{}
	one.err = p.reading(ctx, func(ctx context.Context, q pg.Querier) (err error) {
		if one.InstanceStatus, err = pg.InstanceStatusOf(ctx, q, domain); err == nil {
			one.Detail, err = pg.ReadInstanceRecord(ctx, q, one.ID)
		}
		return err
	})
	if errors.Is(one.err, pgx.ErrNoRows) {
		one.err = &missing{"No such instance", "There is no instance with the domain " + cut(260, domain) + ". The list of instances has a search; IDN domains are in punycode."}
	}
	if one.err != nil {
		return one
	}
	part := func(what string, read func(ctx context.Context, q pg.Querier) error) {
		if err := p.reading(ctx, read); err != nil {
			one.Problems = append(one.Problems, p.problem(what, err))
		}
	}
	part("What waits for it", func(ctx context.Context, q pg.Querier) (err error) {
		one.Waiting, err = pg.ReadWaiting(ctx, q, one.ID, one.CursorID, waitingLooked, waitingShown)
		return err
	})
	part("Its dead letters", func(ctx context.Context, q pg.Querier) (err error) {
		one.Letters, err = pg.DeadLetters(ctx, q, pg.DeadLetterFilter{Domain: domain, Limit: lettersBeside})
		return err
	})
	return one
}

// why says in sentences why the instance is where it is.
func (i *instancePage) why(now time.Time) (why []string) {
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	d := &i.Detail
	if i.Off {
		say("Federation is switched off as a whole: nothing is sent to anybody, and all cursors stand still.")
	}
	switch i.State {
	case "blocked":
		because := "It is blocked, or not among the domains that are allowed."
		switch d.Listed {
		case "block":
			because = "It is on the list of blocked domains."
		case "allow":
			because = "There is a list of allowed domains, and it is not on it."
		}
		say("%s Nothing is sent to it and its cursor stands still, so that it gets all of it when that ends.", because)
	case "paused":
		end := "until somebody resumes it"
		if !d.PausedUntil.IsZero() {
			end = "until " + stamp(d.PausedUntil)
		}
		say("An operator has paused it %s. Nothing is sent to it and its cursor stands still: nothing is lost.", end)
	case "dead":
		if d.Gone {
			say("Its shared inbox has answered that it is gone, three times within a day. It is probed once a day and comes back to life with the first success.")
		} else {
			say("%s in a row have failed and it has given no sign of life for three days. It is probed once a day; what it misses meanwhile stays in the queue.", plural(int64(i.FailCount), "round", "rounds"))
		}
	case "failing":
		say("%s in a row failed, the last %s. The back-off after so many is %s; each further fail makes it a quarter longer, up to a day.",
			plural(int64(i.FailCount), "round", "rounds"), ago(d.LastRetryAt), short(backOff(i.FailCount)))
	case "lagging":
		say("It takes deliveries, but the oldest activity behind its cursor is %s old: more is published for it than it takes, or its deliveries are slow.", short(seconds(i.LagSeconds)))
	case "ok":
		say("It takes deliveries.")
	}
	if d.NotBefore.After(now) {
		say("It has asked for a pause (429, or 503 with Retry-After), %s: nothing is sent before %s.", plural(int64(max(1, d.Throttles)), "time", "times in a row"), stamp(d.NotBefore))
	}
	if d.GoneCount > 0 && !d.Gone {
		say("Its shared inbox answered %s within a day that it is gone; three make it dead.", plural(int64(d.GoneCount), "time", "times"))
	}
	switch {
	case i.Holder == "":
		say("No process delivers to it at this moment.")
	case i.Process != nil && i.Process.Hangs():
		say("Process %s, which holds it, has been silent for %s: nothing is sent before that ends.", i.Holder, short(seconds(*i.Process.SilentSeconds)))
	case i.Process == nil:
		say("Its lease is held by something that is no sender (%s), so that no process can deliver to it.", i.Holder)
	}
	return why
}

// backOff is how long an instance rests after so many fails.
func backOff(fails int) time.Duration {
	return seconds(min(math.Pow(1.25, float64(min(fails-1, 60))), 86400))
}
