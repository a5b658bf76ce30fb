package deliver

import "fmt"

// UnpreparableError says why an activity can't be sent at all: a key, a body or an inbox that no retry makes
// better. The caller dead-letters the delivery with the reason.
type UnpreparableError struct {
	// Reason is one line for a person. It holds no secret.
	Reason string
}

func (e *UnpreparableError) Error() string { return e.Reason }

// unpreparable builds the error; what a stranger wrote belongs in %q.
func unpreparable(format string, args ...any) *UnpreparableError {
	return &UnpreparableError{Reason: printable(fmt.Sprintf(format, args...))}
}
