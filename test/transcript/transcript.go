// Package transcript keeps what a program or a log writes, for tests that read it meanwhile.
package transcript

import (
	"bytes"
	"sync"
)

// Transcript is what was written so far. Its zero value is empty; it is safe for several goroutines.
type Transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer. It never fails.
func (t *Transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
