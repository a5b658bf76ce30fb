package targets_test

import (
	"fmt"
	"testing"

	"github.com/fedsender/fedsender/targets"
)

// A row that is for fifty instances, none of which is among those that are behind.
func BenchmarkAmong(b *testing.B) {
	x := targets.New()
	for id := int32(1); id <= 50; id++ {
		x.SetPair(7, 75*id, []targets.Inbox{{URL: fmt.Sprintf("https://i%d.example/inbox", id), Shared: true}})
	}
	question := targets.NewQuestion(targets.Query{ActivityID: 1, FollowersOf: []int64{7}})
	for _, n := range []int{1, 100, 1_000, 30_000} {
		var ids []int32
		for id := int32(1); len(ids) < n; id++ {
			if id%75 != 0 {
				ids = append(ids, id)
			}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Among(question, ids, func(i int, _ []targets.Inbox) { b.Errorf("it is for %d", ids[i]) })
			}
		})
	}
}
