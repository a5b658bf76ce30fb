package pg

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Snapshot is a pg_snapshot: which transactions had ended when it was taken (Postgres manual, 9.27.7).
type Snapshot struct {
	text       string
	xmin, xmax uint64
	running    []uint64 // sorted, in [xmin, xmax)
}

// ParseSnapshot reads the text form xmin:xmax:xip,xip,…
func ParseSnapshot(text string) (Snapshot, error) {
	bad := func() (Snapshot, error) { return Snapshot{}, fmt.Errorf("%q is not a snapshot", text) }
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return bad()
	}
	s := Snapshot{text: text}
	var err error
	if s.xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return bad()
	}
	if s.xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return bad()
	}
	if parts[2] == "" {
		return s, nil
	}
	for item := range strings.SplitSeq(parts[2], ",") {
		xid, err := strconv.ParseUint(item, 10, 64)
		if err != nil {
			return bad()
		}
		s.running = append(s.running, xid)
	}
	slices.Sort(s.running)
	return s, nil
}

// Sees says whether what the transaction did was visible, provided that it committed.
func (s Snapshot) Sees(xid uint64) bool {
	if xid < s.xmin {
		return true
	}
	if xid >= s.xmax {
		return false
	}
	_, running := slices.BinarySearch(s.running, xid)
	return !running
}

func (s Snapshot) String() string { return s.text }
