package admin

import (
	"net/http"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "fedsender"

// scrapeTimeout ends a scrape whose gauges hang; Prometheus gives up after 10 s.
const scrapeTimeout = 9 * time.Second

// classes are the outcomes of a delivery, each a label of fedsender_deliveries_total that is there from the start, so
// that rate() sees the first of its kind.
var classes = []string{"delivered", "refused", "retry", "unauthorized", "throttled", "gone", "unusable", "canceled"}

// collectorShare are the processor seconds of the garbage collector, to be held against process_cpu_seconds_total.
var collectorShare = regexp.MustCompile(`^/cpu/classes/gc/total:cpu-seconds$`)

var (
	// A commit is delivered within 20 ms on an idle system; what waits for a back-off takes up to a day.
	commitBuckets = []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400}
	// From a server in the same room to the request time-out.
	deliveryBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60}
	// Most gaps of ids are closed within milliseconds, the rest is somebody's open transaction.
	fenceBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300}
)

// Metrics counts what one process does. All its methods are safe for several goroutines and none blocks. No metric has
// a label of an instance: there may be 30,000, and fedsender.instance_status has them.
type Metrics struct {
	registry *prometheus.Registry

	deliveries    map[string]prometheus.Counter
	others        *prometheus.CounterVec
	delivery      prometheus.Histogram
	commit        prometheus.Histogram
	activities    prometheus.Counter
	deadLetters   prometheus.Counter
	bells         prometheus.Counter
	polls         prometheus.Counter
	fences        prometheus.Histogram
	cursors       prometheus.Counter
	leasesTaken   prometheus.Counter
	leasesGiven   prometheus.Counter
	sessionsLost  prometheus.Counter
	databaseFails prometheus.Counter
	wentBack      prometheus.Counter
	cursorsBack   prometheus.Counter
	cursorsMoved  prometheus.Counter
	signingFaults prometheus.Counter
}

// NewMetrics makes metrics on a registry of their own, with those of the Go run time and of the process. Name and
// version become labels of fedsender_build_info.
func NewMetrics(name, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), deliveries: make(map[string]prometheus.Counter, len(classes))}
	m.registry.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: collectorShare})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.others = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "deliveries_total", Help: "Deliveries by outcome; canceled ones were no attempt.",
	}, []string{"class"})
	m.registry.MustRegister(m.others)
	for _, class := range classes {
		m.deliveries[class] = m.others.WithLabelValues(class)
	}
	m.delivery = m.histogram("delivery_duration_seconds", "From the start of a POST to its outcome.", deliveryBuckets)
	m.commit = m.histogram("commit_to_delivery_seconds", "From an activity's published_at to its delivery to one inbox.", commitBuckets)
	m.fences = m.histogram("fence_duration_seconds", "How long a gap of ids held up the feed until every transaction that could fill it had ended.", fenceBuckets)
	m.activities = m.counter("activities_read_total", "Activities read from the database.")
	m.deadLetters = m.counter("dead_letters_total", "Deliveries given up into dead_letter by this process.")
	m.bells = m.counter("bell_wakeups_total", "Wake-ups by NOTIFY.")
	m.polls = m.counter("poll_wakeups_total", "Wake-ups by the poll that found something the bell had not told.")
	m.cursors = m.counter("cursor_writes_total", "Cursors written.")
	m.leasesTaken = m.counter("leases_taken_total", "Leases taken: at the start, from processes that left, and to even out.")
	m.leasesGiven = m.counter("leases_given_total", "Leases given back or lost; of a process that goes on, those that moved to another.")
	m.sessionsLost = m.counter("lease_sessions_lost_total", "Times that the connection with all leases was lost.")
	m.databaseFails = m.counter("database_errors_total", "Statements and connections that failed.")

	m.wentBack = m.counter("database_went_back_total", "Times that the database had lost commits when the lease session was opened again.")
	m.cursorsBack = m.counter("cursors_went_back_total", "Instances whose cursor was behind the one that this process had saved.")
	m.cursorsMoved = m.counter("cursors_moved_total", "Instances that were paused because another program moved their cursor.")

	m.signingFaults = m.counter("signing_faults_total", "Keys that libcrypto refused to sign with, and its end where it signed wrongly; crypto/rsa signs instead.")

	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"name": name, "version": version},
	})
	info.Set(1)
	m.registry.MustRegister(info)
	return m
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

// Delivery counts one POST: the class of its outcome (the text of deliver.Class) and how long it took.
func (m *Metrics) Delivery(class string, took time.Duration) {
	counter, known := m.deliveries[class]
	if !known {
		counter = m.others.WithLabelValues("unknown")
	}
	counter.Inc()
	m.delivery.Observe(took.Seconds())
}

// CommitToDelivery counts the age of an activity at the moment that one inbox took it. A negative one, of clocks that
// differ, counts as zero.
func (m *Metrics) CommitToDelivery(age time.Duration) { m.commit.Observe(max(age, 0).Seconds()) }

// ActivitiesRead counts rows that the feed or a catch-up read.
func (m *Metrics) ActivitiesRead(n int) { m.activities.Add(float64(n)) }

// DeadLetters counts deliveries that were given up.
func (m *Metrics) DeadLetters(n int) { m.deadLetters.Add(float64(n)) }

// Bell counts a wake-up by NOTIFY.
func (m *Metrics) Bell() { m.bells.Inc() }

// MissedBell counts news that only the poll found.
func (m *Metrics) MissedBell() { m.polls.Inc() }

// Fence counts one wait of the feed for open transactions.
func (m *Metrics) Fence(took time.Duration) { m.fences.Observe(took.Seconds()) }

// CursorsWritten counts cursors that reached the database.
func (m *Metrics) CursorsWritten(n int) { m.cursors.Add(float64(n)) }

// LeasesTaken counts instances that this process began to hold.
func (m *Metrics) LeasesTaken(n int) { m.leasesTaken.Add(float64(n)) }

// LeasesGiven counts instances that it holds no more.
func (m *Metrics) LeasesGiven(n int) { m.leasesGiven.Add(float64(n)) }

// LeaseSessionLost counts a loss of the connection that holds the leases.
func (m *Metrics) LeaseSessionLost() { m.sessionsLost.Inc() }

// DatabaseError counts a statement or connection that failed.
func (m *Metrics) DatabaseError() { m.databaseFails.Inc() }

// DatabaseWentBack counts a database that has lost commits.
func (m *Metrics) DatabaseWentBack() { m.wentBack.Inc() }

// CursorsWentBack counts cursors that the database has lost a part of.
func (m *Metrics) CursorsWentBack(n int) { m.cursorsBack.Add(float64(n)) }

// CursorsMoved counts instances that were paused because another program moved their cursor.
func (m *Metrics) CursorsMoved(n int) { m.cursorsMoved.Add(float64(n)) }

// SigningFault counts what libcrypto could not sign.
func (m *Metrics) SigningFault() { m.signingFaults.Inc() }

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
	Load            func() float64 // deliveries a second, one that is under way all the time counted as one
	BalanceVersion  func() float64 // of the weights that the instances are shared by
	InstancesBehind func() float64 // held instances that have something to deliver
	Horizon         func() float64 // id up to which the feed has read
	LagSeconds      func() float64 // age of the oldest activity that waits for an instance that takes deliveries; 0: none
	DeadLetters     func() float64 // rows of dead_letter, in the whole database
	// NotificationQueueUsage is the part of the server's queue that is in use, 0 to 1; commits that notify fail at 1.
	NotificationQueueUsage func() float64
	CacheBytes             func() float64 // activities read ahead
	Ready                  func() float64 // 1 when /readyz says so
}

// Watch adds the gauges. Call it once.
func (m *Metrics) Watch(g Gauges) {
	for _, gauge := range []struct {
		name, help string
		ask        func() float64
	}{
		{"leases", "Instances that this process delivers to.", g.Leases},
		{"in_flight", "Deliveries under way.", g.InFlight},
		{"load", "What the held instances cost: deliveries a second, one that is under way all the time counted as one.", g.Load},
		{"balance_version", "Version of the weights that instances are shared by; a new one moves leases.", g.BalanceVersion},
		{"instances_behind", "Held instances that have something to deliver.", g.InstancesBehind},
		{"horizon_id", "Id up to which this process has read all activities.", g.Horizon},
		{"lag_seconds", "Age of the oldest activity that waits for an instance that takes deliveries.", g.LagSeconds},
		{"dead_letters", "Rows of dead_letter, the same in every process.", g.DeadLetters},
		{"notification_queue_usage_ratio", "Used part of the database server's notification queue; at 1 commits fail.", g.NotificationQueueUsage},
		{"cache_bytes", "Memory of activities read ahead.", g.CacheBytes},
		{"ready", "1 when this process can deliver.", g.Ready},
	} {
		if gauge.ask != nil {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: gauge.name, Help: gauge.help}, gauge.ask))
		}
	}
}

// Handler serves the metrics in the formats that Prometheus asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Timeout:             scrapeTimeout,
		MaxRequestsInFlight: 4,
		ErrorHandling:       promhttp.ContinueOnError,
	})
}
