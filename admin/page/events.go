package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/fedsender/fedsender/admin/access"
)

const (
	// liveEvery is how often a page that is looked at may change: a little more than the age, else every other look finds a value
	// that was read a moment less than the age ago.
	liveEvery = fleetAge + 300*time.Millisecond
	// stillEvery keeps what is between the browser and here from taking a quiet stream for a dead one.
	stillEvery = 15 * time.Second
	// slowReader is how long a browser may leave what it is sent: then it is dropped, and asks again by itself.
	slowReader = 5 * time.Second
	// streamFor bounds a stream; the browser opens another one.
	streamFor = 10 * time.Minute
)

// serveEvents sends a page's changing part again whenever it has changed (server-sent events, HTML standard 9.2).
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request, _ access.Who) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many pages are updated live; this one is still", http.StatusServiceUnavailable)
		return
	}
	// The first one tells whether there is such a page.
	if _, err := p.live(r.Context(), r, r.URL.Query().Get("of")); err != nil {
		var none *missing
		if errors.As(err, &none) {
			http.Error(w, "no such page", http.StatusNotFound)
			return
		}
		w.Header().Set("Retry-After", "15")
		http.Error(w, "the page could not be read at this moment", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), streamFor)
	defer cancel()
	s := stream{w: w, control: http.NewResponseController(w)}
	if s.control.SetReadDeadline(time.Time{}) != nil { // the server's own would end the request
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx
	if s.send("retry: 3000\n\n") != nil {
		return
	}
	ticker := time.NewTicker(liveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.ended:
			return
		case <-ticker.C:
		}
		if !p.mayRead(r) || p.sendLive(ctx, r, &s) != nil {
			return
		}
	}
}

// mayRead asks again, because a session ends and a token changes.
func (p *Page) mayRead(r *http.Request) bool {
	_, result := p.guard.Look(r)
	return result == access.Known || !p.guard.HasToken() && access.Local(r)
}

func (p *Page) sendLive(ctx context.Context, r *http.Request, s *stream) error {
	part, err := p.live(ctx, r, r.URL.Query().Get("of"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(part)
	if sum == s.last {
		if time.Since(s.at) < stillEvery {
			return nil
		}
		return s.send(": nothing new\n\n")
	}
	s.last = sum
	return s.send("data: " + string(bytes.ReplaceAll(part, []byte("\n"), []byte("\ndata: "))) + "\n\n")
}

// stream is one page that is updated.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    [sha256.Size]byte
	at      time.Time // of the last byte
}

func (s *stream) send(text string) error {
	s.at = time.Now()
	if err := s.control.SetWriteDeadline(s.at.Add(slowReader)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
