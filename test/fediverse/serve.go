package fediverse

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// bodies keeps buffers between requests.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// serve takes a request of any instance.
func (f *Fediverse) serve(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	f.running.Add(1)
	defer f.running.Done()
	instance := f.Instance(r.Host)
	if instance.currentLink() == Down {
		f.ledger.refuse(instance.domain)
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			c.(*connection).reset()
		}
		return
	}
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	x := &Exchange{
		Domain: instance.domain, Path: r.RequestURI, Process: r.Header.Get("X-Fedsender-Process"),
		f: f, w: w, r: r, arrived: arrived,
	}
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		x.connection = c.number
	}
	x.delivery = f.ledger.arrive(x)
	defer x.finish()
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	var tooLarge *http.MaxBytesError
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, f.config.MaxBody))
	x.Body = body.Bytes()
	switch {
	case errors.As(err, &tooLarge):
		x.Reply(http.StatusRequestEntityTooLarge)
	case err != nil:
		x.status = StatusClientGone
	default:
		f.answer(x, instance)
	}
}

// answer verifies the request and lets the instance's behaviour answer it.
func (f *Fediverse) answer(x *Exchange, instance *Instance) {
	var activity struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(x.Body, &activity); err != nil || activity.ID == "" {
		f.violate(x, "the body is not a JSON object with an id", http.StatusBadRequest)
		return
	}
	x.Activity = activity.ID
	f.ledger.identify(x.delivery, x.Activity)
	if reason := f.verify(x); reason != "" {
		f.violate(x, reason, http.StatusUnauthorized)
		return
	}
	behaviour := instance.behaviour.Load()
	if behaviour == nil {
		behaviour = f.fallback.Load()
	}
	(*behaviour)(x)(x)
}

func (f *Fediverse) violate(x *Exchange, reason string, status int) {
	f.ledger.violate(x.delivery, reason)
	if f.config.Refused != nil {
		f.config.Refused(x, status, reason)
	}
	Explained(status, "text/plain", reason)(x)
}
