package sign

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Message is asked for its signing string when its turn has come. With an error nothing is signed and that error is
// what [Stage.Sign] returns. It is called once at most, while its Sign has not returned, perhaps by another goroutine.
type Message interface {
	SigningString() ([]byte, error)
}

// Request is one signature that somebody wants.
type Request struct {
	Key *Key
	// Flow is what the request belongs to, an activity: flows take turns, and the requests of one come in their order.
	// It must be comparable.
	Flow any
	// Begun puts the request before those of its flow that have not begun anything: what is under way, such as a
	// connection that stands, is to be used before more of it is made.
	Begun   bool
	Message Message
}

// Stage lets requests sign, so many at one time. Signatures are pure CPU: more at once than processors would only make
// all of them late, and the network with them. The same holds for handshakes of TLS, which have their turns by
// [Stage.Take]. It has no goroutine of its own and no bound: each request that waits is a goroutine that waits in Sign or
// Take. It is safe for several goroutines.
type Stage struct {
	backend Backend
	signed  func(took time.Duration)

	mu    sync.Mutex
	turns int // that nobody has; 0 while anybody waits
	queue queue
}

// NewStage makes a stage of so many turns; below one it is GOMAXPROCS. Unless nil, signed is told how long each
// signature took, the wait for its turn not counted; it must not block.
func NewStage(backend Backend, turns int, signed func(took time.Duration)) *Stage {
	if turns < 1 {
		turns = runtime.GOMAXPROCS(0)
	}
	return &Stage{backend: backend, signed: signed, turns: turns, queue: newQueue()}
}

// Sign waits for its turn and returns the signature. It fails with the cause of ctx where that ends before the turn has
// come, with the error of the message, or with one of the backend's.
func (s *Stage) Sign(ctx context.Context, r Request) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if w := s.line(r); w != nil {
		if a := s.wait(ctx, w); !a.turn {
			return a.signature, a.err
		}
	}
	return s.take(r)
}

// Take waits for a turn to do something else that is pure CPU, and fails with the cause of ctx where that ends before. Who
// has it gives it back with [Stage.Give], before he waits for anything. See [Request] for flow and begun.
func (s *Stage) Take(ctx context.Context, flow any, begun bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w := s.line(Request{Flow: flow, Begun: begun}); w != nil {
		return s.wait(ctx, w).err
	}
	return nil
}

// Give gives back the turn that [Stage.Take] brought.
func (s *Stage) Give() { s.pass() }

// wait returns the turn, what another made of the request, or the cause of ctx.
func (s *Stage) wait(ctx context.Context, w *waiting) (a answer) {
	select {
	case a = <-w.answer:
	case <-ctx.Done():
		if s.leave(w) {
			return answer{err: context.Cause(ctx)}
		}
		a = <-w.answer
	}
	if a.turn && ctx.Err() != nil {
		s.pass()
		return answer{err: context.Cause(ctx)}
	}
	return a
}

// Waiting is how many requests wait for their turn.
func (s *Stage) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.length
}

// line returns nil where there is a turn for the request, which then has it. Before it uses that, all others who can go on
// do: where no more goroutines run than there are turns, none would ever find that another has it, and what waits to sign
// would wait for a processor instead, ahead of all that takes microseconds.
func (s *Stage) line(r Request) *waiting {
	if w := s.takeOrWait(r); w != nil {
		return w
	}
	runtime.Gosched()
	return nil
}

func (s *Stage) takeOrWait(r Request) *waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns > 0 {
		s.turns--
		return nil
	}
	w := &waiting{Request: r, answer: make(chan answer, 1)}
	s.queue.push(w)
	return w
}

// leave takes a request out of the line. false: it is no longer in it, and has its answer soon.
func (s *Stage) leave(w *waiting) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.drop(w)
}

// pass gives the turn to who is next.
func (s *Stage) pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.queue.pop(); w != nil {
		w.answer <- answer{turn: true}
		return
	}
	s.turns++
}

// take uses a turn: for the request, and for others of its key where the backend makes several at a time.
func (s *Stage) take(r Request) ([]byte, error) {
	var others []*waiting
	if lanes := s.backend.Lanes(); lanes > 1 {
		s.mu.Lock()
		others = s.queue.take(r.Key, lanes-1)
		s.mu.Unlock()
	}
	if len(others) == 0 {
		var own [1]answer
		s.sign(r.Key, []Message{r.Message}, own[:])
		s.pass()
		return own[0].signature, own[0].err
	}
	batch, answers := []Message{r.Message}, make([]answer, 1+len(others))
	for _, w := range others {
		batch = append(batch, w.Message)
	}
	s.sign(r.Key, batch, answers)
	s.pass()
	for i, w := range others {
		w.answer <- answers[1+i]
	}
	return answers[0].signature, answers[0].err
}

// sign signs what the batch has to say. It never panics.
func (s *Stage) sign(key *Key, batch []Message, answers []answer) {
	texts := make([][]byte, 0, len(batch))
	for i, m := range batch {
		text, err := ask(m)
		if answers[i].err = err; err == nil {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return
	}
	began := time.Now()
	signatures, err := trySign(s.backend, key, texts)
	if s.signed != nil {
		each := time.Since(began) / time.Duration(len(texts))
		for range texts {
			s.signed(each)
		}
	}
	for i := range answers {
		switch {
		case answers[i].err != nil: // it had nothing to say
		case err != nil:
			answers[i].err = err
		default:
			answers[i].signature, signatures = signatures[0], signatures[1:]
		}
	}
}

// panicError is a panic as an error, without its stack, which may show arguments.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("signing panicked: %v", e.value) }

// caught makes a panic an error. It is to be deferred.
func caught(err *error) {
	if value := recover(); value != nil {
		*err = &panicError{value}
	}
}

// ask asks a message for its string. A panic of its is an error.
func ask(m Message) (text []byte, err error) {
	defer caught(&err)
	return m.SigningString()
}

var errCount = errors.New("the signer made another number of signatures than it was asked for")

// trySign has a backend sign. A panic of its, or an answer of another length, is an error.
func trySign(backend Backend, key *Key, texts [][]byte) (signatures [][]byte, err error) {
	defer caught(&err)
	signatures, err = backend.Sign(key, texts)
	if err == nil && len(signatures) != len(texts) {
		err = errCount
	}
	return signatures, err
}
