package admin

import (
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"sync"
)

const (
	// mutexFraction: one in so many waits for a lock is noted.
	mutexFraction = 10
	// blockRate: one wait is noted for so many nanoseconds that goroutines are blocked.
	blockRate = 10_000
)

// profiles serves /debug/pprof. The profiles "mutex" and "block" are of the seconds that ?seconds= asks for: the run time
// notes waits meanwhile and at no other time, because that costs.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, os.Args[0]) // arguments may be secrets
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof/mutex", noting("mutex", func(on bool) {
		if on {
			runtime.SetMutexProfileFraction(mutexFraction)
		} else {
			runtime.SetMutexProfileFraction(0)
		}
	}))
	mux.Handle("/debug/pprof/block", noting("block", func(on bool) {
		if on {
			runtime.SetBlockProfileRate(blockRate)
		} else {
			runtime.SetBlockProfileRate(0)
		}
	}))
	return mux
}

// noting switches something on while at least one request for the profile is under way.
func noting(name string, set func(on bool)) http.Handler {
	var mu sync.Mutex
	asking := 0
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		before := asking
		asking += by
		if before == 0 || asking == 0 {
			set(asking > 0)
		}
	}
	next := pprof.Handler(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count(1)
		defer count(-1)
		next.ServeHTTP(w, r)
	})
}
