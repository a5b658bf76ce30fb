package why

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

func TestSentences_SayTheStateFirstThenWhatElseHoldsUp(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	status := func(state string) pg.InstanceStatus {
		return pg.InstanceStatus{State: state, Holder: "one", FailCount: 5, LagSeconds: 300}
	}
	nobody := func(state string) pg.InstanceStatus { return pg.InstanceStatus{State: state, FailCount: 1} }
	later := now.Add(90 * time.Second)
	for name, c := range map[string]struct {
		instance Instance
		says     []string
	}{
		"ok":                 {Instance{InstanceStatus: status("ok")}, []string{"It takes what is sent"}},
		"ok, behind":         {Instance{InstanceStatus: pg.InstanceStatus{State: "ok", Holder: "one", IDsBehind: 3}}, []string{"on their way, or for others"}},
		"ok after errors":    {Instance{InstanceStatus: pg.InstanceStatus{State: "ok", Holder: "one", LastError: "400"}, Detail: pg.InstanceDetail{LastErrorAt: now}}, []string{"It takes what", "holds nothing up"}},
		"blocked":            {Instance{InstanceStatus: nobody("blocked"), Detail: pg.InstanceDetail{Listed: "block"}}, []string{"on the list of blocked"}},
		"not allowed":        {Instance{InstanceStatus: nobody("blocked"), Detail: pg.InstanceDetail{Listed: "allow"}}, []string{"list of allowed domains"}},
		"blocked, hidden":    {Instance{InstanceStatus: nobody("blocked")}, []string{"or not among the domains"}},
		"paused":             {Instance{InstanceStatus: nobody("paused")}, []string{"until somebody resumes it"}},
		"paused, a while":    {Instance{InstanceStatus: nobody("paused"), Detail: pg.InstanceDetail{PausedUntil: later}}, []string{"for 1m30s more"}},
		"dead":               {Instance{InstanceStatus: status("dead")}, []string{"no sign of life for 3 days"}},
		"gone":               {Instance{InstanceStatus: status("dead"), Detail: pg.InstanceDetail{Gone: true}, GoneCount: 3}, []string{"three times within a day"}},
		"failing":            {Instance{InstanceStatus: pg.InstanceStatus{State: "failing", Holder: "one", FailCount: 1, NextRetryAt: later}}, []string{"1 try in a row failed. It is tried again in 1m30s"}},
		"failing, due":       {Instance{InstanceStatus: status("failing"), GoneCount: 1}, []string{"5 tries in a row failed. It is due", "answered once within a day"}},
		"lagging":            {Instance{InstanceStatus: status("lagging"), Detail: pg.InstanceDetail{MaxInFlight: 2}}, []string{"more is published for it", "at most 2"}},
		"lagging, throttled": {Instance{InstanceStatus: pg.InstanceStatus{State: "lagging", Holder: "one", LagSeconds: 300, NextRetryAt: later}}, []string{"up to 5m0s old.", "asked for a pause"}},
		"ok, throttled":      {Instance{InstanceStatus: pg.InstanceStatus{State: "ok", Holder: "one", NextRetryAt: later, LastError: "429"}, Detail: pg.InstanceDetail{NotBefore: later, LastErrorAt: now}}, []string{"It does not fail.", "nothing is sent to it for 1m30s more"}},
		"not held":           {Instance{InstanceStatus: nobody("ok")}, []string{"It takes what", "No process delivers"}},
		"hung":               {Instance{InstanceStatus: status("ok"), Silent: time.Minute}, []string{"It takes what", "silent for 1m0s"}},
		"stranger":           {Instance{InstanceStatus: status("ok"), Stranger: true}, []string{"It takes what", "no sender (one)"}},
		"stranger, behind":   {Instance{InstanceStatus: pg.InstanceStatus{State: "ok", Holder: "one", IDsBehind: 3}, Stranger: true}, []string{"is sent to it.", "no sender (one)"}},
		"sent again":         {Instance{InstanceStatus: pg.InstanceStatus{State: "ok", Holder: "one", Redeliveries: 2}}, []string{"It takes what", "2 activities are sent again"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.instance.Sentences(now, time.Duration.String)
			require.Len(t, got, len(c.says), "%q", got)
			for i, sentence := range got {
				require.Contains(t, sentence, c.says[i])
				require.False(t, c.instance.Stranger && strings.Contains(sentence, "on their way"), sentence)
				require.True(t, strings.HasSuffix(sentence, "."), sentence)
			}
		})
	}
}
