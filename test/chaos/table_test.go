package chaos

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// result is what one fault did.
type result struct {
	fault *fault
	judgement
	held                                  []time.Duration // until every instance was held again
	took                                  time.Duration
	delivered, lost, unexpected, disorder int
}

// table collects rows. It is safe for several goroutines.
type table struct {
	mu   sync.Mutex
	rows []*result
}

func (t *table) add(r *result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// publish prints the table, and writes it where FEDSENDER_CHAOS_TABLE says.
func (t *table) publish(test *testing.T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.rows, func(a, b *result) int { return slices.IndexFunc(faults, a.is) - slices.IndexFunc(faults, b.is) })
	text := t.markdown()
	test.Logf("\n%s", text)
	if file := os.Getenv("FEDSENDER_CHAOS_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306: it goes into the documentation
			test.Error(err)
		}
	}
}

func (r *result) is(f fault) bool { return f.name == r.fault.name }

func (t *table) markdown() string {
	var b strings.Builder
	head := []string{"", "fault", "times", "delivered", "lost", "unexpected", "out of order", "twice", "beyond window + 1 s", "two holders",
		"sent before", "let out on waking", "cursors set back", "sessions lost by themselves", "held again p50", "max", "bound", "after", "took"}
	line := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head...)
	line(strings.Split(strings.Repeat("---,", len(head)-1)+"---", ",")...)
	var all time.Duration
	for _, r := range t.rows {
		p50, most := "", ""
		if held := sortedCopy(r.held); len(held) > 0 {
			p50, most = seconds(held[(len(held)-1)/2]), seconds(held[len(held)-1])
		}
		all += r.took
		cell := func(n int) string { return fmt.Sprint(n) }
		line(cell(r.fault.number), r.fault.name, cell(len(r.held)), cell(r.delivered), cell(r.lost), cell(r.unexpected), cell(r.disorder), cell(r.twice),
			fmt.Sprintf("%d of %d", r.strict, r.harms), cell(r.overlaps+r.strangers), cell(r.fromBefore), cell(r.letOut), cell(r.rewound), cell(r.ownLosses),
			p50, most, seconds(r.fault.bound), string(r.fault.since), r.took.Round(time.Second).String())
	}
	fmt.Fprintf(&b, "\nAll together: %s. FEDSENDER_CHAOS_SEED=%d\n", all.Round(time.Second), seed())
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
