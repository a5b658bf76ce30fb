package sign

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
)

// liar signs with Go until it is told to lie.
type liar struct {
	lie    func(made int32, signatures [][]byte) ([][]byte, error)
	asked  atomic.Int32
	faults []Fault
}

func (l *liar) Lanes() int { return 8 }

func (l *liar) Sign(key *Key, messages [][]byte) ([][]byte, error) {
	signatures, err := Go{}.Sign(key, messages)
	if err != nil {
		return nil, err
	}
	return l.lie(l.asked.Add(1), signatures)
}

func (l *liar) checked() *Checked {
	return NewChecked(l, Go{}, func(f Fault) { l.faults = append(l.faults, f) })
}

// wantRight fails unless the signatures are of the key.
func wantRight(t *testing.T, c *Checked, key *Key, messages ...[]byte) {
	t.Helper()
	signatures, err := c.Sign(key, messages)
	if err != nil {
		t.Fatal(err)
	}
	for i, message := range messages {
		if !key.verify(message, signatures[i]) {
			t.Errorf("signature %d is wrong", i)
		}
	}
}

func spoil(signature []byte) []byte {
	wrong := bytes.Clone(signature)
	wrong[0] ^= 0x40
	return wrong
}

func TestChecked_FirstWrongSignatureOfAKeyReachesNobodyAndEndsTheTrust(t *testing.T) {
	for lane := range 3 {
		l := &liar{lie: func(_ int32, signatures [][]byte) ([][]byte, error) {
			signatures[lane] = spoil(signatures[lane])
			return signatures, nil
		}}
		c := l.checked()
		if c.Lanes() != 8 {
			t.Errorf("%d lanes", c.Lanes())
		}
		wantRight(t, c, testKey(t, "rsa1024"), []byte("a"), []byte("b"), []byte("c"))
		wantRight(t, c, testKey(t, "rsa2048"), []byte("a"), []byte("b"), []byte("c"))
		if len(l.faults) != 1 || !l.faults[0].GivenUp || l.asked.Load() != 1 || c.Lanes() != 1 {
			t.Errorf("asked %d times, faults %v, %d lanes", l.asked.Load(), l.faults, c.Lanes())
		}
	}
}

func TestChecked_LiesThatBeginLaterAreFoundWithinCheckEvery(t *testing.T) {
	l := &liar{lie: func(made int32, signatures [][]byte) ([][]byte, error) {
		if made > 100 {
			signatures[0] = spoil(signatures[0])
		}
		return signatures, nil
	}}
	c, key := l.checked(), testKey(t, "rsa1024")
	for range 100 + checkEvery {
		if _, err := c.Sign(key, [][]byte{[]byte("a")}); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.faults) != 1 || !l.faults[0].GivenUp || !errors.Is(l.faults[0].Err, errWrong) {
		t.Errorf("faults %v", l.faults)
	}
	asked := l.asked.Load()
	wantRight(t, c, key, []byte("a"))
	if l.asked.Load() != asked {
		t.Error("the one that lied was asked again")
	}
}

func TestChecked_OneLaneThatLiesIsFoundInFullBatches(t *testing.T) {
	l := &liar{lie: func(made int32, signatures [][]byte) ([][]byte, error) {
		if made > 1 {
			signatures[5] = spoil(signatures[5])
		}
		return signatures, nil
	}}
	c, key := l.checked(), testKey(t, "rsa1024")
	// A batch of seven comes round to each lane in seven checks.
	batch := bytes.Split([]byte("a b c d e f g"), []byte(" "))
	for i := 0; i < 7*checkEvery && len(l.faults) == 0; i++ {
		if _, err := c.Sign(key, batch); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.faults) != 1 {
		t.Errorf("faults %v", l.faults)
	}
}

func TestChecked_KeyThatTheFastOneRefusesIsNotShownToItAgain(t *testing.T) {
	refused := testKey(t, "rsa1024")
	no := errors.New("too small")
	l := &liar{}
	l.lie = func(made int32, signatures [][]byte) ([][]byte, error) {
		if made == 1 {
			return nil, no
		}
		return signatures, nil
	}
	c := l.checked()
	for range 3 {
		wantRight(t, c, refused, []byte("a"))
	}
	wantRight(t, c, testKey(t, "rsa2048"), []byte("a"))
	if len(l.faults) != 1 || l.faults[0].GivenUp || !errors.Is(l.faults[0].Err, no) || l.asked.Load() != 2 {
		t.Errorf("asked %d times, faults %v", l.asked.Load(), l.faults)
	}
}

func TestChecked_PanicEndsTheTrustAndReachesNobody(t *testing.T) {
	l := &liar{lie: func(int32, [][]byte) ([][]byte, error) { panic("of C") }}
	c := l.checked()
	wantRight(t, c, testKey(t, "rsa1024"), []byte("a"))
	wantRight(t, c, testKey(t, "rsa2048"), []byte("a"))
	if len(l.faults) != 1 || !l.faults[0].GivenUp || l.asked.Load() != 1 {
		t.Errorf("asked %d times, faults %v", l.asked.Load(), l.faults)
	}
}

func TestChecked_Ed25519IsNotGivenToTheFastOne(t *testing.T) {
	l := &liar{}
	wantRight(t, l.checked(), testKey(t, "ed25519"), []byte("a"))
	if l.asked.Load() != 0 {
		t.Error("it was")
	}
}

func TestChecked_KeyThatNobodyCanSignWithIsNotTheLibrarysFault(t *testing.T) {
	bad := bad(func([][]byte) ([][]byte, error) { return nil, errors.New("broken key") })
	l := &liar{lie: func(_ int32, signatures [][]byte) ([][]byte, error) {
		signatures[0] = spoil(signatures[0])
		return signatures, nil
	}}
	c := NewChecked(l, bad, func(f Fault) { l.faults = append(l.faults, f) })
	if _, err := c.Sign(testKey(t, "rsa1024"), [][]byte{[]byte("a")}); err == nil {
		t.Error("a signature of a broken key")
	}
	if len(l.faults) != 1 || l.faults[0].GivenUp {
		t.Errorf("faults %v", l.faults)
	}
}
