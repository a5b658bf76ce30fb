package fediverse

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Behaviour picks the answer to a request that was verified. It is called by many goroutines at once.
type Behaviour func(*Exchange) Answer

// Always gives the same answer.
func Always(answer Answer) Behaviour {
	return func(*Exchange) Answer { return answer }
}

// First gives the answer to the first n requests, then behaves as then does.
func First(n int, answer Answer, then Behaviour) Behaviour {
	var seen atomic.Int64
	return func(x *Exchange) Answer {
		if seen.Add(1) <= int64(n) {
			return answer
		}
		return then(x)
	}
}

// While gives the answer as long as the condition, which must be safe for several goroutines, says so.
func While(condition func() bool, answer Answer, then Behaviour) Behaviour {
	return func(x *Exchange) Answer {
		if condition() {
			return answer
		}
		return then(x)
	}
}

// For gives the answer for so long, counted from the first request.
func For(d time.Duration, answer Answer, then Behaviour) Behaviour {
	end := sync.OnceValue(func() time.Time { return time.Now().Add(d) })
	return While(func() bool { return time.Until(end()) > 0 }, answer, then)
}

// PerActivity asks for the answer by the activity's id; nil means 202.
func PerActivity(choose func(activityID string) Answer) Behaviour {
	return func(x *Exchange) Answer {
		if answer := choose(x.Activity); answer != nil {
			return answer
		}
		return OK
	}
}

// PerInbox asks for the answer by the path of the inbox; nil means 202.
func PerInbox(choose func(path string) Answer) Behaviour {
	return func(x *Exchange) Answer {
		if answer := choose(x.Path); answer != nil {
			return answer
		}
		return OK
	}
}

// Flaky fails a share (0 to 1) of the requests with one of the codes, 500 and 503 when none are given. Whether the
// n-th try of an activity at an inbox fails depends on the seed alone, not on the order in which requests come.
func Flaky(seed uint64, share float64, codes ...int) Behaviour {
	if len(codes) == 0 {
		codes = []int{500, 503}
	}
	type what struct{ domain, path, activity string }
	var mu sync.Mutex
	failed := map[what]uint64{} // how often; only of those that fail at present
	return func(x *Exchange) Answer {
		key := what{x.Domain, x.Path, x.Activity}
		mu.Lock()
		defer mu.Unlock()
		random := rand.New(rand.NewPCG(seed, stableHash(key.domain, key.path, key.activity)+failed[key])) // #nosec G404: a test
		if random.Float64() >= share {
			delete(failed, key)
			return OK
		}
		failed[key]++
		return Status(codes[random.IntN(len(codes))])
	}
}

// stableHash is the same in every process.
func stableHash(words ...string) uint64 {
	hash := fnv.New64a()
	for _, word := range words {
		_, _ = hash.Write(append([]byte(word), 0)) // never fails
	}
	return hash.Sum64()
}
