package worker

// startWindow is for an instance that is not known to have trouble: enough to hide one round trip, not enough to hurt.
const startWindow = 4

// window is how many deliveries may be in flight. It grows by one per round of successes and halves once per round of
// failures: additive increase, multiplicative decrease, as in TCP (RFC 5681).
type window struct {
	size, most int
	successes  int // since size last changed
}

func newWindow(most int, failing bool) window {
	size := startWindow
	if failing {
		size = 1
	}
	return window{size: min(size, most), most: most}
}

func (w *window) success() {
	w.successes++
	if w.successes >= w.size {
		w.successes = 0
		w.size = min(w.size+1, w.most)
	}
}

func (w *window) halve() { w.size, w.successes = max(1, w.size/2), 0 }

func (w *window) close() { w.size, w.successes = 1, 0 }

func (w *window) limit(most int) { w.most, w.size = most, min(w.size, most) }
