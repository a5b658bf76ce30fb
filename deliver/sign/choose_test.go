package sign

import (
	"errors"
	"strings"
	"testing"
)

func TestChoose_GoNeedsNothing(t *testing.T) {
	c, err := Choose(OnlyGo, nil)
	if err != nil || c.Library != "" || c.Missing != nil {
		t.Fatalf("got %+v, %v", c, err)
	}
	defer c.Close()
	if _, err := c.Backend.Sign(testKey(t, "rsa1024"), [][]byte{[]byte("a")}); err != nil {
		t.Error(err)
	}
	if library, inGo := c.Made(); library != 0 || inGo != 1 {
		t.Errorf("counts %d and %d", library, inGo)
	}
}

func TestChoose_SaysWhatIsNotToBeHad(t *testing.T) {
	for way, words := range map[string]string{"batch": "not in this version", "rot13": `must be auto, libcrypto or go, not "rot13"`, "": "must be"} {
		var unavailable *UnavailableError
		if _, err := Choose(way, nil); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v", way, err)
		}
	}
}
