package pg

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// mergeLetters makes one of those that are one row, as a statement must not write a row twice. One for a list of one
// instance is that instance's.
func mergeLetters(letters []Letter) []Letter {
	type row struct {
		activity int64
		instance int32
		inbox    string
	}
	merged, at := make([]Letter, 0, len(letters)), make(map[row]int, len(letters))
	for i := range letters {
		l := &letters[i]
		key := row{l.ActivityID, l.InstanceID, l.Inbox}
		n, known := at[key]
		if !known {
			at[key] = len(merged)
			merged = append(merged, *l)
			continue
		}
		if len(l.InstanceIDs) > 0 {
			merged[n].InstanceIDs = slices.Concat(merged[n].InstanceIDs, l.InstanceIDs)
		}
	}
	for i := range merged {
		l := &merged[i]
		if len(l.InstanceIDs) != 1 {
			continue
		}
		key := row{l.ActivityID, l.InstanceIDs[0], l.Inbox}
		if _, known := at[key]; !known {
			l.InstanceID, l.InstanceIDs = l.InstanceIDs[0], nil
		}
	}
	return merged
}

// ranges is the text of an int4multirange of the ids.
func ranges(ids []int32) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i < len(ids); {
		first, last := ids[i], ids[i]
		for i++; i < len(ids) && int64(ids[i]) <= int64(last)+1; i++ {
			last = ids[i]
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if last == math.MaxInt32 { // its end can't be stored
			fmt.Fprintf(&b, "[%d,)", first)
		} else {
			fmt.Fprintf(&b, "[%d,%d]", first, last)
		}
	}
	b.WriteByte('}')
	return b.String()
}
