package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// problems are what keeps deliveries from being made as they should, the worst first. That some instances fail is no problem:
// some always do.
func problems(r statusReport) []string {
	found := []string{}
	s := r.Summary
	if s.Processes == 0 {
		found = append(found, "No sender process is running: nothing is delivered. Start one: sender run")
	}
	if r.Off {
		found = append(found, "Federation is switched off as a whole: nothing is sent to anybody, and all cursors stand still. Switch it on in the application.")
	}
	found = append(found, hung(r.Processes)...)
	if without := s.Instances - r.Held; without > 0 && len(r.Processes) > 0 && !slices.ContainsFunc(r.Processes, func(p pg.ProcessStatus) bool { return p.Leaving }) {
		found = append(found, fmt.Sprintf("Nobody delivers to %s of %s at this moment. If that lasts for more than 15 s: sender doctor", count(without), plural(s.Instances, "instance")))
	}
	if tried := s.OK + s.Lagging + s.Failing; s.Failing >= 10 && s.Failing > tried/2 {
		found = append(found, fmt.Sprintf("%s of %s fail: so many that the fault may be on this side. See: sender doctor", count(s.Failing), plural(tried, "instance")))
	}
	if s.Lagging > 0 && s.Processes > 0 {
		found = append(found, lagging(s))
	}
	if versions := versionsOf(r.Processes); len(versions) > 1 {
		found = append(found, "Processes of several versions run: "+strings.Join(versions, ", ")+". Finish the upgrade.")
	}
	if s.DeadLetters > 0 {
		found = append(found, fmt.Sprintf("%s could not be delivered. See: sender dead-letters list", plural(s.DeadLetters, "dead letter")))
	}
	return found
}

// lagging says why instances lag. Where those that have not asked for a pause do, they lag too.
func lagging(s pg.QueueSummary) string {
	who := plural(s.Lagging, "instance") + " lag although they do not fail"
	switch {
	case s.Throttled > 0 && seconds(s.OldestLagSeconds) <= 2*time.Minute:
		return who + ": they have asked for a pause (429, or 503 with Retry-After) and get what waits when it is over. More processes do not help; see: sender status DOMAIN"
	case s.Throttled > 0:
		who += fmt.Sprintf(", and %s asked for a pause (429, or 503 with Retry-After)", count(s.Throttled))
		return who + ". For the others more comes than is delivered. If their lag grows, start more processes (docs/scale-out.md)"
	}
	return who + ": more comes than is delivered. If the lag grows, start more processes (docs/scale-out.md)"
}

func versionsOf(processes []pg.ProcessStatus) (versions []string) {
	for _, p := range processes {
		versions = append(versions, safe(p.Version))
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

var stateStyles = map[string]string{"ok": green, "lagging": yellow, "failing": red, "dead": red, "paused": yellow, "blocked": dim}

func printStatus(w io.Writer, l look, r statusReport, now time.Time) error {
	for _, problem := range r.Problems {
		for _, line := range wrap(problem, l.width) {
			fmt.Fprintln(w, l.paint(bold+red, line))
		}
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(w, l.paint(green, "Nothing is wrong on this side."))
	}
	fmt.Fprintln(w)
	if err := printInstances(w, l, r, now); err != nil {
		return err
	}
	printSummary(w, l, r)
	if len(r.Processes) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return printProcesses(w, l, r.Processes, now)
}

func printInstances(w io.Writer, l look, r statusReport, now time.Time) error {
	if len(r.Instances) == 0 {
		return nil
	}
	g := grid{columns: []column{
		{title: "INSTANCE", least: 16}, {title: "STATE"}, {title: "BEHIND", right: true}, {title: "LAG", right: true, drop: 3}, {title: "FAILS", right: true, drop: 4},
		{title: "NEXT TRY", drop: 1}, {title: "DEAD LETTERS", right: true, drop: 5}, {title: "LAST ERROR", least: 16, drop: 2},
	}}
	for _, i := range r.Instances {
		lastError := i.LastError
		if i.State == "ok" {
			lastError = ""
		}
		g.row([]string{i.Domain, i.State, count(i.IDsBehind), short(seconds(i.LagSeconds)), count(int64(i.FailCount)),
			nextTry(i.NextRetryAt, now), count(i.DeadLetters), shorten(lastError, 200)}, "", stateStyles[i.State])
	}
	if err := g.print(w, l); err != nil {
		return err
	}
	shown := int64(len(r.Instances))
	if trouble := r.Summary.Instances - r.Summary.OK; shown < trouble {
		fmt.Fprintf(w, "and %s more in trouble (--all lists them)\n", count(trouble-shown))
	}
	fmt.Fprintln(w)
	return nil
}

func printSummary(w io.Writer, l look, r statusReport) {
	s := r.Summary
	line := fmt.Sprintf("%s: %s ok", plural(s.Instances, "instance"), count(s.OK))
	for _, state := range []struct {
		name   string
		number int64
	}{{"failing", s.Failing}, {"lagging", s.Lagging}, {"dead", s.Dead}, {"paused", s.Paused}, {"blocked", s.Blocked}} {
		if state.number > 0 {
			line += fmt.Sprintf(", %s %s", count(state.number), state.name)
		}
	}
	if s.Throttled > 0 {
		line += fmt.Sprintf("; %s of them asked for a pause", count(s.Throttled))
	}
	lines := []string{line}
	if without := s.Instances - r.Held; without > 0 && len(r.Processes) > 0 {
		lines = append(lines, fmt.Sprintf("held: %s of %s; nobody delivers to the other %s at this moment", count(r.Held), plural(s.Instances, "instance"), count(without)))
	}
	letters := plural(s.DeadLetters, "dead letter")
	if s.Redeliveries > 0 {
		letters += fmt.Sprintf(", %s retried and not yet sent", count(s.Redeliveries))
	}
	lines = append(lines, fmt.Sprintf("queue: highest id %s, read up to %s; oldest lag of an instance that takes deliveries %s; %s",
		count(s.HighestID), count(s.Horizon), short(seconds(s.OldestLagSeconds)), letters))
	for _, line := range lines {
		for _, part := range wrap(line, l.width) {
			fmt.Fprintln(w, part)
		}
	}
}

func printProcesses(w io.Writer, l look, processes []pg.ProcessStatus, now time.Time) error {
	g := grid{columns: []column{
		{title: "PROCESS", least: 12}, {title: "ADDRESS", drop: 8, least: 14}, {title: "VERSION", drop: 5, least: 8}, {title: "UP", right: true, drop: 4}, {title: "SILENT", right: true},
		{title: "LEASES", right: true}, {title: "MAX LEASES", right: true, drop: 9}, {title: "IN FLIGHT", right: true, drop: 2}, {title: "DELIVERED/S", right: true, drop: 1},
		{title: "LOAD", right: true, drop: 6}, {title: "FAIR", right: true, drop: 7}, {title: "CAPACITY", right: true, drop: 10},
	}}
	for i := range processes {
		p := &processes[i]
		style := ""
		if p.Hangs() {
			style = red
		}
		g.row([]string{p.Name, p.Address, p.Version, short(now.Sub(p.Since)), silence(p), count(int64(p.Leases)), atMost(p.MaxLeases), count(int64(p.InFlight)),
			fmt.Sprintf("%.1f", p.DeliveredPerS), fmt.Sprintf("%.1f", p.Load), fmt.Sprintf("%.1f", p.FairLoad), fmt.Sprintf("%d%%", p.Capacity)}, style)
	}
	return g.print(w, l)
}

// hung names the processes whose instances wait, and what ends that.
func hung(processes []pg.ProcessStatus) (found []string) {
	for i := range processes {
		p := &processes[i]
		if !p.Hangs() {
			continue
		}
		end := fmt.Sprintf("select pg_terminate_backend(%d)", p.PID)
		switch {
		case p.EndedByOthers():
			end = "the others end its session after 30 s, if their role may; to end it: " + end
		case p.MayEnd:
			end = "end its session: " + end
		default:
			end = fmt.Sprintf("end its session as role %s or a superuser: %s", safe(p.Role), end)
		}
		found = append(found, fmt.Sprintf("Process %s has been silent for %s; its %s wait; %s", safe(p.Name), silence(p), plural(int64(p.Leases), "instance"), end))
	}
	return found
}

// silence is what the process is known to do: how long it has said nothing, in whole seconds.
func silence(p *pg.ProcessStatus) string {
	switch {
	case p.Leaving && !p.Hangs():
		return "leaving"
	case p.SilentSeconds == nil:
		return "?"
	}
	return short(seconds(*p.SilentSeconds).Truncate(time.Second))
}

func atMost(leases int) string {
	if leases == 0 {
		return "-"
	}
	return count(int64(leases))
}
