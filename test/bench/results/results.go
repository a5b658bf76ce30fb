// Package results is what `make bench` measured: written by the benchmarks, read by the program that draws it.
package results

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Figures that cells have, by these names.
const (
	Rate        = "deliveries/s"
	SenderCPU   = "sender-µs"   // of the processor a delivery, or an activity
	PostgresCPU = "postgres-µs" // the same
	ReceiverCPU = "receiver-µs" // the same
	TotalCPU    = "total-µs"    // of sender and Postgres together
	Allocations = "allocs"      // a delivery
	AllocBytes  = "alloc-bytes" // a delivery
	GCShare     = "gc-share"    // by the clock of the run time, which goes on while others have the processor: a hint only
	BodyBytes   = "body-bytes"
	Resident    = "resident-MiB"
	PerInstance = "KiB-instance" // of resident memory
	P50         = "p50-ms"
	P99         = "p99-ms"
	Max         = "max-ms"
	Left        = "left" // of a storm when the last reply had arrived, 0 to 1
)

// Results are those of one run of `make bench`, on one machine.
type Results struct {
	When      time.Time         `json:"when"`
	Machine   string            `json:"machine"`
	Commit    string            `json:"commit"`
	Versions  map[string]string `json:"versions"`
	Scenarios []*Scenario       `json:"scenarios"`
}

// Scenario is a question, with the cells that answer it.
type Scenario struct {
	Name  string  `json:"name"`
	Cells []*Cell `json:"cells"`
}

// Cell is one thing that was measured, once in each run.
type Cell struct {
	Name    string               `json:"name"`
	X       float64              `json:"x,omitempty"` // where it is on a curve
	Figures map[string][]float64 `json:"figures"`     // of each run, in order
}

// Scenario returns the one of that name, and makes it if there is none.
func (r *Results) Scenario(name string) *Scenario {
	for _, s := range r.Scenarios {
		if s.Name == name {
			return s
		}
	}
	s := &Scenario{Name: name}
	r.Scenarios = append(r.Scenarios, s)
	return s
}

// Cell returns the one of that name, and makes it if there is none.
func (s *Scenario) Cell(name string) *Cell {
	if found := s.Find(name); found != nil {
		return found
	}
	c := &Cell{Name: name, Figures: map[string][]float64{}}
	s.Cells = append(s.Cells, c)
	return c
}

// Find returns the cell of that name, or nil.
func (s *Scenario) Find(name string) *Cell {
	for _, c := range s.Cells {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Add notes what a run has shown.
func (c *Cell) Add(figures map[string]float64) {
	for name, value := range figures {
		c.Figures[name] = append(c.Figures[name], value)
	}
}

// Median of a figure over all runs, and whether it was measured.
func (c *Cell) Median(figure string) (float64, bool) {
	if c == nil || len(c.Figures[figure]) == 0 {
		return 0, false
	}
	return median(c.Figures[figure]), true
}

// Ratio is the median of what c is of other, run by run, because a machine is not equally fast at all times.
func (c *Cell) Ratio(other *Cell, figure string) (float64, bool) {
	if c == nil || other == nil {
		return 0, false
	}
	a, b := c.Figures[figure], other.Figures[figure]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	if len(ratios) == 0 {
		return 0, false
	}
	return median(ratios), true
}

// Sum is a cell whose figure of that name is, run by run, the sum of others. It is nil where c is.
func (c *Cell) Sum(name string, others ...string) *Cell {
	if c == nil {
		return nil
	}
	sum := &Cell{Name: c.Name, X: c.X, Figures: map[string][]float64{}}
	for run := range c.Figures[others[0]] {
		total := 0.0
		for _, other := range others {
			if values := c.Figures[other]; run < len(values) {
				total += max(0, values[run])
			}
		}
		sum.Add(map[string]float64{name: total})
	}
	return sum
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Read reads a file; one that is not there is an empty result.
func Read(path string) (*Results, error) {
	r := &Results{Versions: map[string]string{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(text, r)
}

// Write writes the file.
func (r *Results) Write(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) // #nosec G306: for everybody
}
