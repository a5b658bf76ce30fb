package lemmy

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/fedsender/fedsender/test/fediverse"
)

// Receiver is a Lemmy server's own demands on what arrives, beyond those of all servers that the fediverse checks: the
// document begins with @context and goes on with what was stored, byte for byte, and it is signed with the key of the actor
// that it names. What it objects to is answered with 400. Its methods are safe for several goroutines.
type Receiver struct {
	mu         sync.Mutex
	want       map[string]wanted // by activity
	complaints []string
}

type wanted struct{ body, keyID string }

// Expect tells what the activities look like that will arrive. One that it was not told of is not looked at.
func (r *Receiver) Expect(a ActivityRow) error {
	signer, err := a.Signer()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want == nil {
		r.want = map[string]wanted{}
	}
	r.want[a.APID] = wanted{a.Body(), signer + "#main-key"}
	return nil
}

// Complaints are what was wrong so far.
func (r *Receiver) Complaints() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.complaints...)
}

// Behaviour looks at a request and, when it is right, behaves as then does.
func (r *Receiver) Behaviour(then fediverse.Behaviour) fediverse.Behaviour {
	return func(x *fediverse.Exchange) fediverse.Answer {
		if complaint := r.look(x); complaint != "" {
			return fediverse.Explained(http.StatusBadRequest, "text/plain", complaint)
		}
		return then(x)
	}
}

func (r *Receiver) look(x *fediverse.Exchange) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	want, ok := r.want[x.Activity]
	var complaint string
	switch {
	case !ok:
		return ""
	case string(x.Body) != want.body:
		complaint = fmt.Sprintf("the body at %s is %q, want %q", x.Domain, x.Body, want.body)
	case x.KeyID != want.keyID:
		complaint = fmt.Sprintf("the signature at %s is by %s, want %s", x.Domain, x.KeyID, want.keyID)
	default:
		return ""
	}
	r.complaints = append(r.complaints, complaint)
	return complaint
}
