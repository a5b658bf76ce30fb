package page

import (
	"context"
	"net/http"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// worstShown is what fits beside the rest.
const worstShown = 12

// overview is the first page.
type overview struct {
	*Snapshot
	Verdicts []verdict
	Tiles    []tile
	Worst    []pg.InstanceStatus
	Hours    []hour
	Quiet    bool // nothing was delivered within the time of the charts
}

// verdict is a sentence on what is wrong, and where to look.
type verdict struct {
	Level string // bad, warn or ok
	Text  string
	Link  string
	Do    string // what the link is for
}

// tile is a state with its number.
type tile struct {
	State string
	Count int
}

func (p *Page) overview(ctx context.Context, _ *http.Request) (any, error) {
	s, err := p.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	read, err := p.history(ctx)
	if err != nil {
		return nil, err
	}
	o := &overview{Snapshot: s, Verdicts: s.verdicts(), Hours: hours(read.minutes, time.Now()), Quiet: len(read.minutes) == 0}
	if read.problem != "" {
		o.Verdicts = append(o.Verdicts, verdict{Level: "warn", Text: read.problem})
	}
	for _, state := range states {
		o.Tiles = append(o.Tiles, tile{state, s.States[state]})
	}
	o.Worst = s.Instances[:min(worstShown, s.Trouble(), len(s.Instances))]
	return o, nil
}

// verdicts say what is wrong, the worst first; there is always one.
func (s *Snapshot) verdicts() (all []verdict) {
	say := func(level, text, link, do string) { all = append(all, verdict{level, text, link, do}) }
	if s.ProcessesRead && len(s.Processes) == 0 {
		say("bad", "No sender process is running: nothing is delivered. Start one: sender run", "", "")
	}
	if s.Queue.Off {
		say("bad", "Federation is switched off as a whole: nothing is sent to anybody, and all cursors stand still. Switch it on in the application.", "", "")
	}
	for i := range s.Processes {
		if one := &s.Processes[i]; one.Hangs() {
			say("bad", "Process "+one.Name+" has been silent for "+short(seconds(*one.SilentSeconds))+"; its "+plural(int64(one.Leases), "instance", "instances")+" wait.", "/processes", "What ends that")
		}
	}
	for _, problem := range s.Problems {
		say("warn", problem, "", "")
	}
	if s.Unheld > 0 && len(s.Processes) > 0 {
		say("warn", plural(int64(s.Unheld), "instance is", "instances are")+" held by no process at this moment.", "/processes", "Who holds how many")
	}
	if s.Throttled > 0 {
		say("warn", plural(int64(s.Throttled), "instance", "instances")+" asked for a pause (429, or 503 with Retry-After) and will get what waits when it is over.", "/instances?state=lagging", "Which")
	}
	if n := s.States["lagging"] - s.Throttled; n > 0 {
		say("warn", plural(int64(n), "instance takes", "instances take")+" deliveries but lag behind.", "/instances?state=lagging", "Which")
	}
	if n := s.States["failing"]; n > 0 {
		say("warn", plural(int64(n), "instance fails", "instances fail")+" and will be tried again.", "/instances?state=failing", "Which")
	}
	if n := s.Queue.DeadLetters; n > 0 {
		say("warn", plural(n, "delivery was", "deliveries were")+" given up.", "/dead-letters", "Read them")
	}
	if n := s.Queue.Redeliveries; n > 0 {
		say("warn", plural(n, "dead letter that was retried waits", "dead letters that were retried wait")+" to be sent again.", "", "")
	}
	if len(all) == 0 {
		say("ok", "All is well: "+plural(int64(s.States["ok"]), "instance takes", "instances take")+" deliveries and none waits for long.", "", "")
	}
	return all
}

// WithState is the list of the instances in a state.
func (*overview) WithState(state string) string { return listing{Sort: "state", State: state}.link() }
