package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/bench/receiver"
	"github.com/fedsender/fedsender/test/fleet"
)

// roleVariable makes the test's executable the receiver: see TestMain.
const roleVariable = "FEDSENDER_BENCH_ROLE"

// checkEvery is which part of the signatures the receiver checks. One takes as long as 20 other requests.
const checkEvery = 50

// The first actors of a stage. All others have their followers on plain HTTP.
const (
	httpsRSA = iota
	httpRSA
	httpsEdwards
	httpEdwards
	stageActors
)

// stage is a bench whose receivers are a process of their own, so that the processor time of senders, Postgres and
// receivers is told apart, and on which other programs can be put to the same work.
type stage struct {
	*bench
	home     *fleet.World
	receiver receiver.Client
	child    *child // the receiver
	keyFile  string
	settle   time.Duration // for what is written after the last answer, before the clocks are read
}

func newStage(tb testing.TB, seeding fleet.Seeding) *stage {
	tb.Helper()
	seeding.Actors += stageActors
	w := &native{seeding: seeding}
	b := newBenchOn(tb, w, map[string]string{"max_locks_per_transaction": "1024", "max_connections": "300"})
	s := &stage{bench: b, home: w.seeded, keyFile: filepath.Join(tb.TempDir(), "key.pem"), settle: 1200 * time.Millisecond}
	if err := os.WriteFile(s.keyFile, []byte(w.seeded.KeyPEM), 0o600); err != nil {
		tb.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), roleVariable+"=receiver")
	s.child = launch(tb, "the receiver", command)
	line, err := s.child.line()
	if err == nil {
		err = json.Unmarshal(line, &s.receiver.Addresses)
	}
	if err != nil {
		tb.Fatal(err)
	}
	s.seedKeys()
	s.exec(`
		update fedsender.follower
		set inbox = replace(inbox, 'https://', 'http://'), shared_inbox = replace(shared_inbox, 'https://', 'http://')
		where actor_id <> all($1)`, []int64{s.home.Actors[httpsRSA], s.home.Actors[httpsEdwards]})
	s.Env = []string{"SENDER_ALLOW_HTTP=true"}
	return s
}

// seedKeys gives two of the actors Ed25519 keys and makes all keys known to the receiver.
func (s *stage) seedKeys() {
	s.tb.Helper()
	block, _ := pem.Decode([]byte(s.home.KeyPEM))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		s.tb.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		s.tb.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for n := range s.home.Actors {
		var key any = parsed.(*rsa.PrivateKey).Public()
		if n == httpsEdwards || n == httpEdwards {
			key = public
			s.exec(`update fedsender.actor set private_key_pem = $2 where id = $1`, s.home.Actors[n], string(text))
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err == nil {
			err = s.receiver.AddKey(s.ctx, keyID(n), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		}
		if err != nil {
			s.tb.Fatal(err)
		}
	}
}

// keyID is that of the n-th actor.
func keyID(n int) string { return fleet.ActorID(n) + "#main-key" }

func (s *stage) exec(sql string, arguments ...any) {
	s.tb.Helper()
	if _, err := s.DB.Exec(s.ctx, sql, arguments...); err != nil {
		s.tb.Fatal(err)
	}
}

// reset empties the receiver.
func (s *stage) reset(every int, delay time.Duration) {
	s.tb.Helper()
	if err := s.receiver.Reset(s.ctx, every, delay); err != nil {
		s.tb.Fatal(err)
	}
}

// wait blocks until so many deliveries have arrived. A signature that is wrong ends the test.
func (s *stage) wait(count int) receiver.State {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	state, err := s.receiver.Wait(ctx, count)
	if err != nil {
		if so, asked := s.receiver.State(s.ctx); asked == nil {
			err = fmt.Errorf("%d of %d have arrived: %w", so.Count, count, err)
		}
		s.tb.Fatal(err)
	}
	if state.Refused > 0 {
		s.tb.Fatalf("%d of %d checked deliveries were refused: %s", state.Refused, state.Checked, state.Reason)
	}
	return state
}

// clocks is the processor time that was used so far.
type clocks struct{ sender, postgres, receiver time.Duration }

func (c clocks) minus(before clocks) clocks {
	return clocks{c.sender - before.sender, c.postgres - before.postgres, c.receiver - before.receiver}
}

func (s *stage) clocks(sub subject) clocks {
	s.tb.Helper()
	var c clocks
	var err error
	if c.postgres, err = fleet.TreeCPU(s.server.PID()); err != nil {
		s.tb.Fatal(err)
	}
	if c.receiver, err = s.child.cpu(); err != nil {
		s.tb.Fatal(err)
	}
	c.sender = sub.cpu()
	return c
}
