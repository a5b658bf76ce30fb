package deliver

import "time"

// Trace is told of the phases of one Post, in the goroutine that calls it. Functions that are nil are not called.
type Trace struct {
	// Traceparent is sent as the header of that name (W3C Trace Context, 3.2); empty: none is. It is not signed.
	Traceparent string
	// Connected is called for each connection that was made or failed; not for those that were kept, or go through a proxy.
	Connected func(began time.Time, err error)
	// Signed is called for each signature, the wait for its turn included.
	Signed func(began time.Time, err error)
}

// now is the time, or zero where nobody is told.
func (t *Trace) now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Now()
}

func (t *Trace) connected(began time.Time, err error) {
	if t != nil && t.Connected != nil {
		t.Connected(began, err)
	}
}

func (t *Trace) signed(began time.Time, err error) {
	if t != nil && t.Signed != nil {
		t.Signed(began, err)
	}
}

// header is the line that the trace brings; its value is empty where there is none.
func (t *Trace) header() headerLine {
	if t == nil {
		return headerLine{}
	}
	return headerLine{"Traceparent", t.Traceparent}
}
