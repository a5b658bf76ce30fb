package page

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/admin/why"
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
func (i *instancePage) why(now time.Time) (sentences []string) {
	if i.Off {
		sentences = append(sentences, "Federation is switched off as a whole: nothing is sent to anybody, and all cursors stand still.")
	}
	instance := why.Instance{
		InstanceStatus: i.InstanceStatus, Detail: i.Detail.InstanceDetail, GoneCount: i.Detail.GoneCount,
		Stranger: i.Holder != "" && i.Process == nil,
	}
	if i.Process != nil && i.Process.Hangs() {
		instance.Silent = seconds(*i.Process.SilentSeconds)
	}
	return append(sentences, instance.Sentences(now, short)...)
}
