package worker_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/fedsender/fedsender/worker"
)

// A delivery through all of it, with the window full and the look-ahead filled by activities that an actor's likes and
// replies look like.
func BenchmarkWorker_OfferNextDone(b *testing.B) {
	w := worker.New(worker.State{}, worker.Limits{}, start, 7)
	inboxes := job(1).Inboxes
	id := int64(0)
	offer := func() {
		for w.Room(start) > 0 {
			id++
			k := uint64(id) * 10
			w.Offer(worker.Job{Inboxes: inboxes, Activity: &worker.Activity{ID: id, PublishedAt: start, Footprint: worker.Footprint{
				Writes: []uint64{k, k + 1}, Reads: []uint64{k % 7, k%50 + 100, k + 2},
			}}})
		}
	}
	var flying []worker.Delivery
	b.ReportAllocs()
	for b.Loop() {
		offer()
		for {
			d, ok := w.Next(start)
			if !ok {
				break
			}
			flying = append(flying, d)
		}
		w.Done(start, flying[0], delivered)
		flying = flying[1:]
	}
}

func BenchmarkState(b *testing.B) {
	w := worker.New(worker.State{}, worker.Limits{}, start, 7)
	for id := int64(1); id <= 36; id++ {
		w.Offer(job(id))
	}
	w.Next(start)
	second, _ := w.Next(start)
	w.Done(start, second, delivered)
	b.ReportAllocs()
	for b.Loop() {
		w.State()
	}
}

func BenchmarkFootprintOf(b *testing.B) {
	body := []byte(announced)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		worker.FootprintOf(body)
	}
}

func BenchmarkFootprint_Conflicts(b *testing.B) {
	f, g := worker.FootprintOf([]byte(likeByBob)), worker.FootprintOf([]byte(likeByCarol))
	for b.Loop() {
		f.Conflicts(g)
	}
}

func BenchmarkMemory_OfAnInstance(b *testing.B) {
	const count = 10_000
	job := job(1)
	for _, c := range []struct {
		name    string
		failing bool
	}{{"idle", false}, {"failing", true}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				before := heap()
				workers := make([]*worker.Worker, count)
				for k := range workers {
					workers[k] = worker.New(worker.State{}, worker.Limits{}, start, uint64(k))
					if c.failing {
						failFor(workers[k], 40, job)
					}
				}
				b.ReportMetric(float64(heap()-before)/count, "B/instance")
				runtime.KeepAlive(workers)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func failFor(w *worker.Worker, rounds int, job worker.Job) {
	now := start
	w.Offer(job)
	for id := int64(2); rounds > 0; rounds-- {
		for {
			d, ok := w.Next(now)
			if !ok {
				break
			}
			w.Done(now, d, failed)
		}
		if w.Room(now) == 1 {
			next := job
			next.Activity = activities[id%int64(len(activities))]
			id++
			w.Offer(next)
		}
		now = now.Add(24 * time.Hour)
		w.Seen(now, now)
	}
}

// activities are shared by all Workers, as those of one process are.
var activities = func() (all [64]*worker.Activity) {
	for k := range all {
		all[k] = activity(int64(k))
	}
	return all
}()
