package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fediverse"
)

const (
	// sampleEvery keeps what the samples cost the database far below the load.
	sampleEvery = time.Second
	// sampleTimeout is short, because an administrator's lock and a silent database are among the faults.
	sampleTimeout = 3 * time.Second
	// forgotten is how many samples back a cursor may be set by a crash: commits that wait for no disk are written within
	// three rounds of the WAL writer, 0.6 s.
	forgotten = 2
	// settling is how long after a loss instances may go back and forth between looks, if the fleet was not seen to be ready
	// before: processes come back one after the other, and each finds others there.
	settling = 4 * time.Second
)

// glance is one look at the locks.
type glance struct {
	at    time.Time // it began
	moved bool      // since the one before, some instance went from one session to another
}

// sampler looks about once a second at who holds what and where the cursors are, on a connection of its own.
type sampler struct {
	url   string
	group conc.WaitGroup
	stop  context.CancelFunc

	mu      sync.Mutex
	domains map[int32]string
	names   map[session]string
	tenures map[string][]tenure // by domain, in order of time
	now     map[int32]tenure    // of the last look
	cursors []map[int32]int64   // of the last looks
	rewinds []rewind            // cursors that went back
	double  []string            // instances with two holders
	looks   []glance
}

// session is one backend; numbers of processes come again.
type session struct {
	pid   int32
	began time.Time
}

// tenure is a time in which an instance was held by a session at each look. Between two of them it may have had it taken
// and given back only if something happened to somebody.
type tenure struct {
	session  session
	from, to time.Time
}

type rewind struct {
	domain   string
	from, to int64
	at       time.Time
	far      bool // further than a crash of the database may set it back
}

// sample starts a sampler. It runs until the test ends, or until end.
func (r *rig) sample(ctx context.Context) *sampler {
	ctx, stop := context.WithCancel(ctx)
	w := &sampler{url: r.Database, stop: stop, domains: map[int32]string{}, names: map[session]string{}, tenures: map[string][]tenure{}, now: map[int32]tenure{}}
	w.group.Go(func() { w.run(ctx) })
	r.t.Cleanup(w.end)
	return w
}

func (w *sampler) end() {
	w.stop()
	w.group.Wait()
}

func (w *sampler) run(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	var conn *pgx.Conn
	for {
		if conn == nil || conn.IsClosed() {
			conn = w.connect(ctx)
		}
		if conn != nil {
			w.look(ctx, conn)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close(context.WithoutCancel(ctx)) // all that it was for is read
			}
			return
		}
	}
}

// connect returns nil while there is no database.
func (w *sampler) connect(ctx context.Context) *pgx.Conn {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	config, err := pgx.ParseConfig(w.url)
	if err != nil {
		return nil
	}
	config.RuntimeParams["application_name"] = "chaos sampler"
	config.RuntimeParams["statement_timeout"] = "1000"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil
	}
	return conn
}

// look fails while the database is disturbed; the next look tells as much.
func (w *sampler) look(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	if err := w.lookAtHolders(ctx, conn); err != nil {
		w.mu.Lock()
		clear(w.now)
		w.mu.Unlock()
	}
	_ = w.lookAtCursors(ctx, conn)
}

func (w *sampler) lookAtHolders(ctx context.Context, conn *pgx.Conn) error {
	began := time.Now()
	rows, err := conn.Query(ctx, `
		select l.objid::int, coalesce(i.domain, ''), l.pid, a.backend_start, coalesce(p.name, '')
		from pg_locks l
		join pg_stat_activity a using (pid)
		left join fedsender.process p on p.id = split_part(a.application_name, ':', 2)
		left join fedsender.instance i on i.id = l.objid::int
		where l.locktype = 'advisory' and l.classid = $1::int8::oid and l.objsubid = 2 and l.granted
		  and l.database = (select oid from pg_database where datname = current_database())`, int64(pg.LeaseClass))
	if err != nil {
		return err
	}
	var id int32
	var domain, name string
	var s session
	held := map[int32]session{}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = pgx.ForEachRow(rows, []any{&id, &domain, &s.pid, &s.began, &name}, func() error {
		if other, twice := held[id]; twice && other != s {
			w.double = append(w.double, fmt.Sprintf("%s by %d and %d at %s", domain, other.pid, s.pid, clock(began)))
		}
		held[id], w.domains[id] = s, domain
		if name != "" {
			w.names[s] = name
		}
		return nil
	})
	if err != nil {
		return err
	}
	moved := w.note(held, began, time.Now())
	w.looks = append(w.looks, glance{began, moved})
	return nil
}

// note extends the tenures of those that were held by the same session at the last look, and says whether some instance
// was held by another one. Callers hold mu.
func (w *sampler) note(held map[int32]session, began, ended time.Time) (moved bool) {
	now := make(map[int32]tenure, len(held))
	for id, s := range held {
		last, ok := w.now[id]
		if !ok || last.session != s {
			moved = moved || ok
			now[id] = tenure{s, ended, ended}
			continue
		}
		domain := w.domains[id]
		all := w.tenures[domain]
		if n := len(all); n > 0 && all[n-1].session == s && all[n-1].to.Equal(last.to) {
			all[n-1].to = began
		} else {
			all = append(all, tenure{s, last.from, began})
		}
		w.tenures[domain] = all
		now[id] = tenure{s, last.from, began}
	}
	w.now = now
	return moved
}

func (w *sampler) lookAtCursors(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `select instance_id, last_successful_id from fedsender.queue_state`)
	if err != nil {
		return err
	}
	cursors := map[int32]int64{}
	var id int32
	var cursor int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &cursor}, func() error { cursors[id] = cursor; return nil }); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.cursors); n > 0 {
		for id, before := range w.cursors[n-1] {
			if after, ok := cursors[id]; ok && after < before {
				w.rewinds = append(w.rewinds, rewind{w.domains[id], before, after, time.Now(), n > forgotten && after < w.cursors[n-1-forgotten][id]})
			}
		}
	}
	w.cursors = append(w.cursors, cursors)
	if len(w.cursors) > forgotten+1 {
		w.cursors = w.cursors[1:]
	}
	return nil
}

// judge complains of what was sent by a process while another one surely held the instance, of cursors that went back
// without a crash of the database, and of locks that two sessions had. It looks at deliveries from the sequence number
// on, and forgets what it has told.
func (w *sampler) judge(j *judgement, r *rig, from int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := map[string]int{}
	for _, d := range r.Fedi.Ledger().Deliveries("") {
		all := w.tenures[d.Domain]
		for at[d.Domain] < len(all) && all[at[d.Domain]].to.Before(d.Arrived) {
			at[d.Domain]++
		}
		if d.Seq < from || at[d.Domain] == len(all) {
			continue
		}
		held := all[at[d.Domain]]
		if w.unsure(r, d.Arrived) {
			continue
		}
		if holder := w.names[held.session]; holder != "" && holder != d.Process && held.from.Before(d.Arrived) {
			w.stranger(j, r, d, holder)
		}
	}
	for _, one := range w.double {
		j.complain("locked by two sessions", "%s", one)
	}
	for _, back := range w.rewinds {
		if forgiven(r, back) {
			j.rewound++
		} else {
			j.complain("a cursor went back", "%s from %d to %d at %s", back.domain, back.from, back.to, clock(back.at))
		}
	}
	w.double, w.rewinds = nil, nil
	maps.DeleteFunc(w.tenures, func(_ string, all []tenure) bool { return len(all) == 0 })
}

// unsure says whether an instance may have changed hands twice between the looks around a moment: somebody came or went,
// or instances were seen to move.
func (w *sampler) unsure(r *rig, at time.Time) bool {
	n := sort.Search(len(w.looks), func(n int) bool { return w.looks[n].at.After(at) })
	if n == 0 || n == len(w.looks) || w.looks[n-1].moved || w.looks[n].moved {
		return true
	}
	from, to := w.looks[n-1].at.Add(-sampleEvery), w.looks[n].at
	near := func(event time.Time) bool { return event.After(from) && event.Before(to) }
	return slices.ContainsFunc(r.moves, near) || slices.ContainsFunc(r.incidents, func(i *incident) bool {
		return r.settles(i.lost, at) || slices.ContainsFunc([]time.Time{i.at, i.lost, i.end, i.woken, i.renewed}, near)
	})
}

// settles says whether the fleet was still settling at a moment after a loss.
func (r *rig) settles(lost, at time.Time) bool {
	return at.After(lost) && at.Before(lost.Add(settling)) &&
		!slices.ContainsFunc(r.moves, func(ready time.Time) bool { return ready.After(lost) && ready.Before(at) })
}

func (w *sampler) stranger(j *judgement, r *rig, d fediverse.Delivery, holder string) {
	switch {
	case r.suffered(d, (*incident).silencedBefore):
		j.fromBefore++
	case r.suffered(d, (*incident).letOut):
	default:
		j.strangers++
		j.complain("sent without a lease", "%s sent %s to %s at %s, which %s held", d.Process, d.Activity, d.Domain, clock(d.Arrived), holder)
	}
}

// forgiven says whether a crash of the database explains it. Samples are a second apart.
func forgiven(r *rig, back rewind) bool {
	for _, i := range r.incidents {
		if i.forgets && !back.far && back.at.After(i.at) && back.at.Before(i.end.Add(sampleTimeout+2*sampleEvery)) {
			return true
		}
	}
	return false
}
