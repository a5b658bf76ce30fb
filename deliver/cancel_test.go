package deliver_test

import (
	"context"
	"net"
	"testing"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
)

// waiting is a name server that never answers. TCP connections can't be made to hang on every machine.
func waiting(asked chan<- struct{}) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
}

// waitingSigner signs when ctx ends, that is, never.
type waitingSigner struct{ asked chan struct{} }

func (s waitingSigner) Sign(ctx context.Context, _ sign.Request) ([]byte, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// canceledAt posts and cancels that when the phase is reached.
func canceledAt(t *testing.T, client *deliver.Client, inbox string, doc *deliver.Document, phase <-chan struct{}) deliver.Outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan deliver.Outcome, 1)
	go func() { ended <- client.Post(ctx, inbox, doc, newKey(t)) }()
	<-phase
	cancel()
	return <-ended
}

// When all have ended, goleak finds what they left.
func TestPost_CanceledInAnyPhaseLeavesNoConnection(t *testing.T) {
	reached := func() chan struct{} { return make(chan struct{}, 1) }
	handshake, signature, send, header, body := reached(), reached(), reached(), reached(), reached()
	for name, c := range map[string]struct {
		inbox  string
		turn   func(v *visit)
		signer deliver.Signer
		doc    *deliver.Document
		phase  chan struct{}
		class  deliver.Class
	}{
		"handshake": {inbox: "https://toad.example/inbox", phase: handshake, class: deliver.Canceled, turn: func(v *visit) {
			_, _ = v.reader.ReadByte()
			handshake <- struct{}{}
			_ = v.listen()
		}},
		"signature": {inbox: toad, phase: signature, signer: waitingSigner{signature}, class: deliver.Canceled, turn: func(v *visit) { _ = v.listen() }},
		"request": {inbox: toad, phase: send, doc: endlessDocument(t), class: deliver.Canceled, turn: func(v *visit) {
			_, _ = v.reader.ReadByte()
			send <- struct{}{}
			<-v.script.done
		}},
		"header": {inbox: toad, phase: header, class: deliver.Canceled, turn: func(v *visit) {
			v.request()
			v.say("HTTP/1.1 202 Acc")
			header <- struct{}{}
			_ = v.listen()
		}},
		// The status is the answer, if it was read before.
		"body": {inbox: toad, phase: body, class: deliver.Delivered, turn: func(v *visit) {
			v.request()
			v.say("HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n")
			body <- struct{}{}
			_ = v.listen()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, c.turn)
			config := s.config()
			if c.signer != nil {
				config.Signer = c.signer
			}
			client, doc := newClient(t, config), c.doc
			if doc == nil {
				doc = newDocument(t, `{}`)
			}
			if out := canceledAt(t, client, c.inbox, doc, c.phase); out.Class != deliver.Canceled && out.Class != c.class {
				t.Errorf("got %+v", out)
			}
			client.Close()
			if n := client.Idle(); n > 0 {
				t.Errorf("%d connections are kept", n)
			}
			if name != "request" { // whose server does not look
				until(t, "the connection is closed", func() bool { return s.connections() == 0 })
			}
		})
	}
}

func TestPost_CanceledWhileItConnects(t *testing.T) {
	s := newScript(t, func(v *visit) { v.serve(ok) })
	client := newClient(t, s.config())
	ctx, cancel := context.WithCancel(t.Context())
	client.OnConnect(cancel)
	wantClass(t, client.Post(ctx, toad, newDocument(t, `{}`), newKey(t)), deliver.Canceled)
	wantCount(t, "requests", s.requests.Load(), 0)
	until(t, "no connection is open", func() bool { return s.connections() == 0 })
	if n := client.Idle(); n > 0 {
		t.Errorf("%d connections are kept", n)
	}
}

func TestPost_CanceledWhileTheNameIsLookedUp(t *testing.T) {
	asked := make(chan struct{}, 1)
	resolver := deliver.NewResolver(waiting(asked))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := resolver.LookupNetIP(ctx, "ip", "toad.example.")
		ended <- err
	}()
	<-asked
	cancel()
	if err := <-ended; err == nil {
		t.Error("found")
	}
}
