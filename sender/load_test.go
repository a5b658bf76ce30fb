package sender

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)

func TestMeter_CountsDeliveriesASecondAndWhatIsUnderWay(t *testing.T) {
	var m meter
	now := noon
	m.settle(now, 0)
	for range 600 { // 10 a second, each under way for 50 ms
		m.settle(now, 0)
		now = now.Add(50 * time.Millisecond)
		m.settle(now, 1)
		m.delivered()
		now = now.Add(50 * time.Millisecond)
	}
	require.InDelta(t, 10.5, m.read(now, 0), 0.6)
	now = now.Add(time.Minute)
	require.Less(t, m.read(now, 0), 0.5, "an idle minute later")
	now = now.Add(time.Minute)
	require.InDelta(t, 3, m.read(now, 3), 0.1, "three hang")
}

func TestMeter_YoungAverageIsNeitherTooLowNorAGuess(t *testing.T) {
	var m meter
	now := noon
	m.settle(now, 0)
	m.delivered()
	require.Less(t, m.read(now.Add(time.Millisecond), 0), 0.3, "one delivery at once is not a thousand a second")
	for range 80 {
		now = now.Add(100 * time.Millisecond)
		m.settle(now, 0)
		m.delivered()
	}
	require.InDelta(t, 10, m.read(now, 0), 0.7, "after 8 s of an average over 15 s")
}

func TestDispatcher_SaysWhichInstancesAreBusiest(t *testing.T) {
	d := newDispatcher(Config{}, nil, nil)
	for id := range int32(1000) {
		s := &slot{id: id}
		s.meter.begun, s.meter.at = noon.Add(-time.Hour), noon
		if s.meter.load = 1; id == 500 {
			s.meter.load = 100
		} else if id%2 == 1 {
			s.meter.load = 0.01
		}
		d.slots[id] = s
	}
	total, busiest := d.load(noon)
	require.InDelta(t, 604, total, 1)
	require.Len(t, busiest, 500)
	require.Equal(t, busyInstance{500, 100}, busiest[0])
	d.slots[500].meter.load = 10_000
	_, busiest = d.load(noon)
	require.Len(t, busiest, 1, "the others are no noticeable part")
}

func TestSpeedometer_SaysWhatThrottledSignaturesCostAndForgivesAHiccup(t *testing.T) {
	var s speedometer
	procs := float64(runtime.GOMAXPROCS(0))
	now := noon
	sign := func(seconds, each int, took func(n int) time.Duration) {
		for range seconds {
			for n := range each {
				s.signed(now.Add(time.Duration(n)*time.Millisecond), took(n))
			}
			now = now.Add(time.Second)
		}
	}
	usual := func(int) time.Duration { return time.Millisecond }
	sign(5, 100, usual)
	require.Zero(t, s.perSecond(now), "five seconds do not tell")
	sign(15, 4, usual)
	require.Zero(t, s.perSecond(now), "nor do few signatures")
	sign(15, 100, usual)
	require.InDelta(t, 1000*procs, s.perSecond(now), 1)
	sign(2, 100, func(int) time.Duration { return time.Second })
	require.InDelta(t, 1000*procs, s.perSecond(now), 1, "it was stopped for a moment")
	// Of each 100 ms the processor is there for 25, so a few signatures take 75 more.
	sign(15, 250, func(n int) time.Duration {
		if n%25 == 0 {
			return 76 * time.Millisecond
		}
		return time.Millisecond
	})
	require.InDelta(t, 250*procs, s.perSecond(now), 5)
	require.Zero(t, s.perSecond(now.Add(time.Minute)), "that is a minute ago")
}
