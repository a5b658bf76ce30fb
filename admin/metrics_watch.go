package admin

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// WatchSignatures adds the signatures that were made, by who made them, and how many deliveries wait for one. Both
// functions are asked at each scrape. Call it once.
func (m *Metrics) WatchSignatures(made func() (byLibcrypto, byGo float64), waiting func() float64) {
	counter := func(by string, count func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace, Name: "signatures_total", Help: "Signatures by what made them.", ConstLabels: prometheus.Labels{"by": by},
		}, count)
	}
	m.registry.MustRegister(
		counter("libcrypto", func() float64 { library, _ := made(); return library }),
		counter("go", func() float64 { _, inGo := made(); return inGo }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Name: "signatures_waiting", Help: "Deliveries that have a connection and wait for their signature.",
		}, waiting),
	)
}

// Gauges are asked at each scrape, from several goroutines, and must answer within a second from what they know: they
// do not ask the database. Those that are nil are left out.
type Gauges struct {
	Leases          func() float64 // instances held
	InFlight        func() float64 // deliveries
	InFlightLimit   func() float64 // SENDER_MAX_IN_FLIGHT
	Waiting         func() float64 // deliveries that instances have been given and that have not begun
	Load            func() float64 // deliveries a second, one that is under way all the time counted as one
	BalanceVersion  func() float64 // of the weights that the instances are shared by
	InstancesBehind func() float64 // held instances that have something to deliver
	BackingOff      func() float64 // held instances that wait for their next try
	Horizon         func() float64 // id up to which the feed has read
	FeedAgeSeconds  func() float64 // since the database answered the feed
	GapSeconds      func() float64 // how long a gap of ids has held up the feed; 0: none does
	LagSeconds      func() float64 // age of the oldest activity that waits for an instance that takes deliveries; 0: none
	UnsavedSeconds  func() float64 // age of the oldest outcome that no cursor in the database has; 0: none
	DeadLetters     func() float64 // rows of dead_letter, in the whole database
	// NotificationQueueUsage is the part of the server's queue that is in use, 0 to 1; commits that notify fail at 1.
	NotificationQueueUsage func() float64
	CacheBytes             func() float64 // activities read ahead
	ConnectionsIdle        func() float64 // connections to inboxes that are kept without a request
	DatabaseConnections    func() float64 // of the pool
	DatabaseBusy           func() float64 // connections of the pool that somebody uses
	DatabaseLimit          func() float64 // that the pool may have
	Ready                  func() float64 // 1 when /readyz says so
}

// Counts only grow. They are asked as [Gauges] are.
type Counts struct {
	ConnectionsOpened   func() float64 // to inboxes
	ConnectionsReused   func() float64 // deliveries that took a connection that was kept
	DatabaseAcquires    func() float64 // connections taken from the pool
	DatabaseWaitSeconds func() float64 // spent waiting for one
}

// asked is a metric whose value is asked at each scrape.
type asked struct {
	name, help string
	ask        func() float64
}

// Watch adds the gauges. Call it once.
func (m *Metrics) Watch(g Gauges) {
	for _, gauge := range []asked{
		{"leases", "Instances that this process delivers to.", g.Leases},
		{"in_flight", "Deliveries under way.", g.InFlight},
		{"in_flight_limit", "Deliveries that may be under way: SENDER_MAX_IN_FLIGHT.", g.InFlightLimit},
		{"deliveries_waiting", "Deliveries that have been read ahead and have not begun; a backlog has more in the database.", g.Waiting},
		{"load", "What the held instances cost: deliveries a second, one that is under way all the time counted as one.", g.Load},
		{"balance_version", "Version of the weights that instances are shared by; a new one moves leases.", g.BalanceVersion},
		{"instances_behind", "Held instances that have something to deliver.", g.InstancesBehind},
		{"instances_backing_off", "Held instances that failed or asked for a pause, and wait for their next try.", g.BackingOff},
		{"horizon_id", "Id up to which this process has read all activities.", g.Horizon},
		{"feed_age_seconds", "Time since the database last answered the feed; up to 10 when idle.", g.FeedAgeSeconds},
		{"feed_gap_seconds", "How long a gap of ids, which an open transaction may fill, has held up the feed; 0 when none does.", g.GapSeconds},
		{"lag_seconds", "Age of the oldest activity that waits for an instance that takes deliveries.", g.LagSeconds},
		{"unsaved_seconds", "Age of the oldest outcome that is in no saved cursor; past 1 its instance waits.", g.UnsavedSeconds},
		{"dead_letters", "Rows of dead_letter, the same in every process.", g.DeadLetters},
		{"notification_queue_usage_ratio", "Used part of the database server's notification queue; at 1 commits fail.", g.NotificationQueueUsage},
		{"cache_bytes", "Memory of activities read ahead.", g.CacheBytes},
		{"connections_idle", "Connections to inboxes that are kept without a request.", g.ConnectionsIdle},
		{"database_connections", "Connections of the pool to the database, beside those of the leases and of the bell.", g.DatabaseConnections},
		{"database_connections_busy", "Connections of the pool that are in use.", g.DatabaseBusy},
		{"database_connections_limit", "Connections that the pool may have.", g.DatabaseLimit},
		{"ready", "1 when this process can deliver.", g.Ready},
	} {
		if gauge.ask != nil {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: gauge.name, Help: gauge.help}, gauge.ask))
		}
	}
}

// WatchCounts adds the counts. Call it once.
func (m *Metrics) WatchCounts(c Counts) {
	for _, count := range []asked{
		{"connections_opened_total", "Connections made to inboxes, those through a proxy left out.", c.ConnectionsOpened},
		{"connections_reused_total", "Deliveries that took a connection that was kept.", c.ConnectionsReused},
		{"database_acquires_total", "Connections taken from the pool.", c.DatabaseAcquires},
		{"database_acquire_wait_seconds_total", "Time spent waiting for a connection of the pool, those that had to be made included.", c.DatabaseWaitSeconds},
	} {
		if count.ask != nil {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: count.name, Help: count.help}, count.ask))
		}
	}
}

// WatchStates adds how many held instances are in each state. The function is asked at each scrape. Call it once.
func (m *Metrics) WatchStates(count func() map[string]int) {
	m.registry.MustRegister(&states{
		count: count,
		desc:  prometheus.NewDesc(namespace+"_instances", "Held instances by state, as this process sees them.", []string{"state"}, nil),
	})
}

type states struct {
	count func() map[string]int
	desc  *prometheus.Desc
}

func (s *states) Describe(to chan<- *prometheus.Desc) { to <- s.desc }

func (s *states) Collect(to chan<- prometheus.Metric) {
	for state, count := range s.count() {
		to <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(count), state)
	}
}

// Figure is one number of one instance.
type Figure struct {
	Domain string
	Value  float64
}

// WatchWorst adds the instances that are behind the longest and those that fail the most often, each with its domain as
// a label: the functions say how many. They are asked at each scrape. Call it once.
func (m *Metrics) WatchWorst(lag, failures func() []Figure) {
	for _, w := range []worst{
		{lag, prometheus.NewDesc(namespace+"_instance_lag_seconds", "Age of the oldest activity that waits, of the held instances where it is highest.", []string{"domain"}, nil)},
		{failures, prometheus.NewDesc(namespace+"_instance_failures", "Failures in a row, of the held instances where there are most.", []string{"domain"}, nil)},
	} {
		m.registry.MustRegister(&w)
	}
}

type worst struct {
	figures func() []Figure
	desc    *prometheus.Desc
}

func (w *worst) Describe(to chan<- *prometheus.Desc) { to <- w.desc }

func (w *worst) Collect(to chan<- prometheus.Metric) {
	for _, f := range w.figures() {
		to <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, f.Value, strings.ToValidUTF8(f.Domain, "?"))
	}
}
