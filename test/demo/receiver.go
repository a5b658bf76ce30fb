package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"unicode"

	"github.com/fedsender/fedsender/test/fediverse"
)

// ReceiverOptions say whose deliveries a receiver takes.
type ReceiverOptions struct {
	Out  io.Writer         // gets a line for each delivery
	Addr string            // HOST:PORT to listen on
	Keys map[string]string // key id → file with the public key in PEM
}

// Receive is every remote server at once, whatever the domain, until ctx ends: it checks each delivery as strictly as any
// server does, says what came, and keeps nothing.
func Receive(ctx context.Context, o ReceiverOptions) error {
	out := &arrivals{out: o.Out}
	f, err := fediverse.Start(fediverse.Config{
		Addr: o.Addr,
		Default: fediverse.Always(func(x *fediverse.Exchange) {
			out.tell(http.StatusAccepted, x, "signed with "+x.KeyID)
			fediverse.OK(x)
		}),
		Refused: func(x *fediverse.Exchange, status int, reason string) { out.tell(status, x, reason) },
	})
	if err != nil {
		return err
	}
	defer f.Close()
	for id, file := range o.Keys {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("the public key of %s: %w", id, err)
		}
		if err := f.RegisterPEM(id, string(text)); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.Out, "listening on %s, for every domain\n", f.Addr())
	<-ctx.Done()
	return nil
}

// arrivals are written a line at a time, whoever writes them.
type arrivals struct {
	mu  sync.Mutex
	out io.Writer
}

func (a *arrivals) tell(status int, x *fediverse.Exchange, how string) {
	var activity struct{ ID, Type string }
	_ = json.Unmarshal(x.Body, &activity) // what is no JSON was refused for that
	scheme := "http"
	if x.Encrypted() {
		scheme = "https"
	}
	line := fmt.Sprintf("%d %s://%s%s: %s %s, %s", status, scheme, x.Domain, x.Path, activity.Type, activity.ID, how)
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.out, strings.Map(printable, line))
}

// printable leaves out what would move a terminal's cursor.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return -1
	}
	return r
}
