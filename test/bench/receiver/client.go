package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Client asks a receiver in another process.
type Client struct{ Addresses }

// Address is the receiver's for inboxes of the scheme.
func (c Client) Address(scheme string) string {
	if scheme == "http" {
		return c.Plain
	}
	return c.TLS
}

// AddKey makes a public key (SPKI in PEM) known by its id.
func (c Client) AddKey(ctx context.Context, id string, text []byte) error {
	return c.ask(ctx, http.MethodPost, "/key?id="+url.QueryEscape(id), text, nil)
}

// Reset begins to count anew: one in so many is checked (0: none), each is answered after the delay. No request may be under way.
func (c Client) Reset(ctx context.Context, every int, delay time.Duration) error {
	return c.ask(ctx, http.MethodPost, fmt.Sprintf("/reset?every=%d&delay=%s", every, delay), nil, nil)
}

// Wait blocks until so many requests have been counted.
func (c Client) Wait(ctx context.Context, count int) (State, error) {
	var s State
	err := c.ask(ctx, http.MethodGet, fmt.Sprintf("/wait?count=%d", count), nil, &s)
	return s, err
}

// State is what was counted so far.
func (c Client) State(ctx context.Context) (State, error) {
	var s State
	err := c.ask(ctx, http.MethodGet, "/state", nil, &s)
	return s, err
}

// Timed tells when each path below /timed/ was first asked for.
func (c Client) Timed(ctx context.Context) (map[string]time.Time, error) {
	var times map[string]time.Time
	err := c.ask(ctx, http.MethodGet, "/timed", nil, &times)
	return times, err
}

func (c Client) ask(ctx context.Context, method, path string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Control+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the receiver says %s: %s", response.Status, text)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}
