package chaos

import (
	"cmp"
	"context"
	"flag"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/network"
	"github.com/fedsender/fedsender/test/postgres"
)

const (
	// calmPerSecond is how many activities are committed for each of the fleets that suffer side by side.
	calmPerSecond = 12
	// verifyEvery leaves the processors to the faults; signatures are what other tests are about.
	verifyEvery = 16
	// clockTolerance is above the jumps of clocks that are tried.
	clockTolerance = 2 * time.Hour
	// busyMachine is how much longer than its bound a fault may take on a machine that is busy with other things.
	busyMachine = time.Minute
)

// storm is a fleet under load that suffers one fault after the other.
type storm struct {
	*rig
	stage   *stage
	random  *rand.Rand // the choices of the present fault
	server  *postgres.Server
	replica *postgres.Server // nil where there is none
	hosts   map[string]*network.Host
	clocks  string // directory of the files that senders read their clocks' offsets from
	links   *links // through which some reach the database; nil where there are none
	watch   *sampler
	seen    int // deliveries that are judged
	judged  fediverse.Verdict
}

// TestChaos has a fleet suffer each fault, one at a time and again and again, and judges by the ledger of the receivers, the
// cursors and pg_locks. FEDSENDER_CHAOS_SEED repeats the choices of a run, FEDSENDER_CHAOS_TIMES has each fault happen so
// often, and FEDSENDER_CHAOS_TABLE names a file for the results. One fault: -run 'TestChaos/.*/kill'.
func TestChaos(t *testing.T) {
	beside(t)
	t.Logf("FEDSENDER_CHAOS_SEED=%d", seed())
	var results table
	t.Cleanup(func() { results.publish(t) })
	for _, group := range groups() {
		t.Run(group.name, func(t *testing.T) {
			beside(t)
			s := newStorm(t, group.faults[0].stage)
			for i := range group.faults {
				f, whole := &group.faults[i], false
				t.Run(f.name, func(part *testing.T) {
					s.t = part
					results.add(s.try(f))
					whole = true
				})
				if !whole {
					break // the fleet is not what the next fault expects
				}
			}
			s.t = t
			s.end()
		})
	}
}

type group struct {
	name   string
	faults []fault
}

// groups are the faults that this form of the test tries, by the fleet that suffers them.
func groups() []group {
	var all []group
	for _, f := range faults {
		name := pick(f.group, f.stage.name)
		if f.times() == 0 || !asked(f.name) {
			continue
		}
		n := slices.IndexFunc(all, func(g group) bool { return g.name == name })
		if n < 0 {
			n = len(all)
			all = append(all, group{name: name})
		}
		all[n].faults = append(all[n].faults, f)
	}
	return all
}

// asked says whether -run asks for the fault, so that no fleet is started for nothing.
func asked(name string) bool {
	parts := strings.Split(flag.Lookup("test.run").Value.String(), "/")
	if len(parts) < 3 {
		return true
	}
	pattern, err := regexp.Compile(parts[2])
	return err != nil || pattern.MatchString(name)
}

func (f *fault) times() int {
	n := pick(f.short, f.long)
	if given, err := strconv.Atoi(os.Getenv("FEDSENDER_CHAOS_TIMES")); err == nil && n > 0 {
		return given
	}
	return n
}

// newStorm starts what the stage has, and the fleet.
func newStorm(t *testing.T, st *stage) *storm {
	t.Helper()
	ctx := t.Context() // each fault has its own limit
	s := &storm{stage: st, hosts: map[string]*network.Host{}}
	database := st.build(ctx, t, s)
	config := fediverse.Config{
		Addr: network.Fediverse + ":0", DateWithin: clockTolerance, VerifyEvery: verifyEvery,
		Default: fediverse.Always(fediverse.Late(cmp.Or(st.answer, answerAfter))),
	}
	s.rig = newRig(t, binary(t, st.tag), database, config, cmp.Or(st.spread, busy))
	s.clocks = t.TempDir()
	s.Adjust = func(o *fleet.Options) {
		if st.tag == "testclock" {
			o.Env = slices.Concat(o.Env, []string{"SENDER_TEST_CLOCK_FILE=" + filepath.Join(s.clocks, o.Name)})
		}
		if s.links != nil {
			o.Database = s.links.next(o.Database)
		}
	}
	s.watch = s.sample(ctx)
	return s
}

// try has the fleet suffer the fault as often as this form wants, and judges.
func (s *storm) try(f *fault) *result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), pick(4*time.Minute, 40*time.Minute))
	defer cancel()
	began := time.Now()
	out := &result{fault: f}
	defer func() { out.took = time.Since(began) }()
	s.random = choices(f.name)
	s.ready(ctx)
	l := s.load(ctx, pick(calmPerSecond, busyPerSecond), seed())
	defer l.stop(s.t)
	for range f.times() {
		s.ready(ctx)
		s.progress(ctx, pick(30, 80))
		wait(ctx, s.upTo(time.Second))
		took := f.strike(ctx, s)
		out.held = append(out.held, took)
		limit := pick(f.bound+busyMachine, f.bound)
		if took > limit {
			s.t.Errorf("every instance was held again %s after %s; the bound is %s", took.Round(time.Millisecond), f.since, limit)
		}
	}
	s.ready(ctx)
	l.stop(s.t)
	s.judge(ctx, out)
	return out
}

// choices are those of a fault, whichever others are tried.
func choices(name string) *rand.Rand {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(seed(), hash.Sum64()))
}

func (s *storm) upTo(d time.Duration) time.Duration { return time.Duration(s.random.Int64N(int64(d))) }

// between draws a duration.
func (s *storm) between(least, most time.Duration) time.Duration { return least + s.upTo(most-least) }

func (s *storm) victim() *fleet.Sender { return s.someSender(s.random) }

// ready brings the fleet to its strength and waits until each process holds its share.
func (s *storm) ready(ctx context.Context) {
	s.t.Helper()
	if missing := s.stage.senders - len(s.Senders()); missing > 0 {
		s.moves = append(s.moves, time.Now())
		s.reinforce(ctx, missing)
		s.moves = append(s.moves, time.Now())
	}
	if err := s.WaitHeld(ctx, s.stage.senders); err != nil {
		s.t.Fatal(err)
	}
	s.moves = append(s.moves, time.Now())
}

// reinforce starts so many senders, each on a host of its own where the stage has such.
func (s *storm) reinforce(ctx context.Context, n int) {
	s.t.Helper()
	machines := make([]fleet.Machine, n)
	for i := range machines {
		if !s.stage.hosted {
			continue
		}
		host, err := network.NewHost()
		if err != nil {
			s.t.Fatal(err)
		}
		machines[i] = host
	}
	fresh, err := s.StartOn(ctx, machines...)
	s.started = append(s.started, fresh...)
	for i, sender := range fresh {
		if host, ok := machines[i].(*network.Host); ok {
			s.hosts[sender.Name] = host
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// abandon closes the host of a sender that has ended.
func (s *storm) abandon(name string) {
	s.t.Helper()
	host := s.hosts[name]
	delete(s.hosts, name)
	if host != nil {
		if err := host.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// working waits until the sender has heard from the database and delivered after since, and every instance is held. It
// returns how long after since that was.
func (s *storm) working(ctx context.Context, sender *fleet.Sender, since time.Time) time.Duration {
	s.t.Helper()
	ledger := s.Fedi.Ledger()
	soon, cancel := context.WithTimeout(ctx, 100*time.Second)
	defer cancel()
	err := fleet.Until(soon, sender.Name+" delivers again", func() (bool, error) {
		if ledger.Since(sender.Name, since) == 0 {
			return false, nil
		}
		var holds bool
		err := s.DB.QueryRow(ctx, `
			select exists (
			  select
			  from pg_stat_activity a
			  join fedsender.process p on p.id = split_part(a.application_name, ':', 2)
			  join pg_locks l on l.pid = a.pid and l.locktype = 'advisory'
			  where a.application_name like 'fedsender:%' and p.name = $1 and a.query_start > $2)`, sender.Name, since).Scan(&holds)
		return holds, err
	})
	if err != nil {
		s.showSessions(ctx)
		// It ends with the stacks of all its goroutines.
		s.signal(sender, syscall.SIGQUIT)
		<-sender.Ended()
		s.t.Fatalf("%v\n%s", err, sender.Log())
	}
	return s.takeover(ctx, since, 0)
}

// showSessions logs what the server knows of the senders' sessions.
func (s *storm) showSessions(ctx context.Context) {
	rows, err := s.DB.Query(ctx, `
		select concat_ws(' ', a.pid, a.application_name, p.name, a.client_addr, a.state, 'for', clock_timestamp() - a.state_change,
		  'since', a.backend_start, 'locks', (select count(*) from pg_locks l where l.pid = a.pid and l.locktype = 'advisory'))
		from pg_stat_activity a
		left join fedsender.process p on p.id = split_part(a.application_name, ':', 2)
		where a.application_name like 'fedsender%'
		order by a.application_name`)
	if err != nil {
		s.t.Log(err)
		return
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	s.t.Log(strings.Join(lines, "\n"), err)
}

// judge waits until everything has arrived and completes the result.
func (s *storm) judge(ctx context.Context, out *result) {
	s.t.Helper()
	expected := s.waitArrived(ctx)
	ledger := s.Fedi.Ledger()
	verdict, before := ledger.Verdict(expected, order), s.judged
	s.judged = verdict
	out.delivered = verdict.Delivered - before.Delivered
	out.lost, out.unexpected = verdict.Lost, verdict.Unexpected-before.Unexpected
	out.disorder = verdict.OutOfOrder - before.OutOfOrder
	if out.lost+out.unexpected+out.disorder+verdict.Violations-before.Violations > 0 {
		for _, example := range verdict.Examples {
			s.t.Error(example)
		}
	}
	j := &out.judgement
	from := s.seen
	s.seen = ledger.Count("")
	s.judgeEnded(j)
	j.ownLosses = s.noteOwnLosses()
	s.judgeDuplicates(j, from)
	s.judgeOverlaps(j, from)
	s.countLetOut(j, from)
	s.watch.judge(j, s.rig, from)
	if out.fault.harmless && j.twice > 0 {
		j.complain("delivered twice though the fault is harmless", "%d times", j.twice)
	}
	j.fail(s.rig)
	s.t.Log(j)
	s.t.Logf("every instance held again, after %s: %s", out.fault.since, percentiles(out.held))
}

// end stops everything: each process exits with 0 and leaves nothing in the database.
func (s *storm) end() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	saved := fleet.Until(ctx, "cursors are written", func() (bool, error) {
		behind, err := s.behind(ctx)
		return behind == 0, err
	})
	if saved != nil {
		s.t.Error(saved)
	}
	s.stopAll(ctx)
	s.checkEnd(ctx)
	s.watch.end()
	var left int
	err := fleet.Until(ctx, "no lease session is left", func() (bool, error) {
		err := s.DB.QueryRow(ctx, `
			select count(*)
			from pg_stat_activity
			where datname = current_database() and application_name like 'fedsender:%'`).Scan(&left)
		return left == 0, err
	})
	if err != nil {
		s.t.Errorf("%v: %d are", err, left)
	}
	for name := range s.hosts {
		s.abandon(name)
	}
	if running := len(s.Senders()); running > 0 {
		s.t.Errorf("%d processes are left", running)
	}
}
