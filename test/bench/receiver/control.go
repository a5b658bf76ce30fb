package receiver

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// State is what was counted since the last reset.
type State struct {
	Count   int64     `json:"count"`
	Bytes   int64     `json:"bytes"` // of the bodies
	Checked int64     `json:"checked"`
	Refused int64     `json:"refused"`          // of those that were checked
	Reason  string    `json:"reason,omitempty"` // why one was
	Last    time.Time `json:"last"`             // when the last one was answered
}

// control is what the one who measures asks for.
func (r *receiver) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /key", r.addKey)
	mux.HandleFunc("POST /reset", r.reset)
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { r.show(w) })
	mux.HandleFunc("GET /wait", r.wait)
	mux.HandleFunc("GET /timed", r.showTimed)
	return mux
}

// addKey makes the key in the body known by the keyId in ?id=.
func (r *receiver) addKey(w http.ResponseWriter, request *http.Request) {
	text, err := io.ReadAll(request.Body)
	if err == nil {
		var key any
		if key, err = publicKey(text); err == nil {
			r.keys.Store(request.URL.Query().Get("id"), key)
			return
		}
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// reset begins to count anew: ?every= one in so many is checked (0: none), ?delay= from a request to its answer. No
// request may be under way.
func (r *receiver) reset(w http.ResponseWriter, request *http.Request) {
	every, err := strconv.ParseInt(request.URL.Query().Get("every"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	delay, err := time.ParseDuration(request.URL.Query().Get("delay"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.every.Store(every)
	r.delay.Store(int64(delay))
	for _, counter := range []*atomic.Int64{&r.count, &r.bytes, &r.checked, &r.refused, &r.last, &r.awaited} {
		counter.Store(0)
	}
	r.reason.Store(nil)
	r.timed.Clear()
}

// wait answers when ?count= requests have been counted, with the state.
func (r *receiver) wait(w http.ResponseWriter, request *http.Request) {
	count, err := strconv.ParseInt(request.URL.Query().Get("count"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-r.reached: // of somebody who waited before
	default:
	}
	r.awaited.Store(count)
	if r.count.Load() < count {
		select {
		case <-r.reached:
		case <-request.Context().Done():
			return
		}
	}
	r.show(w)
}

func (r *receiver) show(w http.ResponseWriter) {
	s := State{
		Count: r.count.Load(), Bytes: r.bytes.Load(), Checked: r.checked.Load(), Refused: r.refused.Load(), Last: time.Unix(0, r.last.Load()),
	}
	if reason := r.reason.Load(); reason != nil {
		s.Reason = *reason
	}
	_ = json.NewEncoder(w).Encode(s) // the one who asked may have gone
}

// showTimed tells when each path below /timed/ was first asked for.
func (r *receiver) showTimed(w http.ResponseWriter, _ *http.Request) {
	times := map[string]time.Time{}
	r.timed.Range(func(path, at any) bool {
		times[path.(string)] = time.Unix(0, at.(int64))
		return true
	})
	_ = json.NewEncoder(w).Encode(times) // the one who asked may have gone
}
