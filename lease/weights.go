package lease

import (
	"fmt"
	"time"
)

// Weights is what every process plans with, beside who is present and which instances there are. They have a version,
// which each process shows to the others ([Session.Show]): who hears that an instance is free plans with what the one
// planned with who gave it up. Version 0, the zero value, has every instance weigh the same and every process able to do
// the same. They are kept as JSON.
type Weights struct {
	Version int64 `json:"-"`
	// Light is what an instance weighs that is not in Heavy.
	Light Weight `json:"light"`
	// Heavy are the instances that make the most work, each once.
	Heavy []Heavy `json:"heavy,omitempty"`
	// Processes are those that were present when the weights were made. Others can do as much as any.
	Processes []Capacity `json:"processes,omitempty"`
	// MadeAt and Patience are for the [Judge]: it makes none because of loads before so much time has passed.
	MadeAt   time.Time     `json:"made_at"`
	Patience time.Duration `json:"patience"`
	// Quiet is for the Judge too: it forgets the loads after so long without any; 0: after a minute.
	Quiet time.Duration `json:"quiet,omitempty"`
}

// Weight is in thousandths of one delivery a second, or of one delivery under way all the time.
type Weight int64

// Heavy is what one instance weighs and who should have it, an index into [Weights.Processes]: who had it when the
// weights were made, if it fitted there. So loads that change move as little as they must.
type Heavy struct {
	ID     int32  `json:"id"`
	Weight Weight `json:"weight"`
	Home   int    `json:"home"`
}

// Capacity is what a process can do.
type Capacity struct {
	ID      string `json:"id"`
	Percent int    `json:"percent"` // of what a usual process of the fleet can do: 10 to 100
	// The rest is for the [Judge]: Percent was raised and not lowered last; it is raised no earlier than that; and a
	// change is waited after for so long.
	Raised   bool          `json:"raised,omitempty"`
	RaiseAt  time.Time     `json:"raise_at"`
	Patience time.Duration `json:"patience"`
}

// percent is what a process can do by the weights.
func (w *Weights) percent(id string) int {
	for i := range w.Processes {
		if w.Processes[i].ID == id {
			return w.Processes[i].Percent
		}
	}
	return 100
}

// mostWeight is far above what any process can do, and so far below the limits of an int64 that no sum of weights meets
// them.
const mostWeight Weight = 1_000_000_000

// Check says what makes weights unfit to plan with. They are kept where others may write too, and one that nobody can
// deal out would stop every process.
func (w *Weights) Check() error {
	if w.Light < 0 || w.Light > mostWeight {
		return fmt.Errorf("an instance can't weigh %d", w.Light)
	}
	seen := make(map[int32]bool, len(w.Heavy))
	for _, h := range w.Heavy {
		if h.Weight < 0 || h.Weight > mostWeight {
			return fmt.Errorf("instance %d can't weigh %d", h.ID, h.Weight)
		}
		if seen[h.ID] {
			return fmt.Errorf("instance %d has two weights", h.ID)
		}
		seen[h.ID] = true
	}
	for _, c := range w.Processes {
		if c.Percent < 1 || c.Percent > steps[0] {
			return fmt.Errorf("process %q can't do %d %% of what a usual one can", c.ID, c.Percent)
		}
	}
	return nil
}

// light is never zero: it divides.
func (w *Weights) light() Weight { return max(1, w.Light) }
