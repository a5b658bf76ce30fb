package admin

import (
	"net/http"
	"regexp"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
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
	// An Ed25519 signature takes 20 µs, one of RSA-4096 on a busy processor some 10 ms.
	signingBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .1}
	// A save is a round trip and up to 2,000 cursors; past 1.5 s the lease session gives up.
	saveBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2.5}
	// Most gaps of ids are closed within milliseconds, the rest is somebody's open transaction.
	fenceBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300}
)

// Native histograms beside the classic buckets, for who scrapes them: each bucket is a tenth wider than the one before,
// which a delivery needs at most this many of; past them the resolution halves.
const (
	nativeFactor     = 1.1
	nativeBuckets    = 160
	nativeResetAfter = time.Hour
)

// Metrics counts what one process does. All its methods are safe for several goroutines and none blocks. No metric has
// a label of an instance, unless [Metrics.WatchWorst] adds a few: there may be 30,000, and fedsender.instance_status has them.
type Metrics struct {
	registry *prometheus.Registry

	deliveries    map[string]prometheus.Counter
	others        *prometheus.CounterVec
	delivery      prometheus.Histogram
	commit        prometheus.Histogram
	signing       prometheus.Histogram
	saves         prometheus.Histogram
	activities    prometheus.Counter
	givenUp       prometheus.Counter
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

	connectionsClosed prometheus.Counter
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
	m.signing = m.histogram("signing_duration_seconds", "How long a signature took, the wait for its turn not counted.", signingBuckets)
	m.saves = m.histogram("cursor_save_duration_seconds", "How long writing the cursors of one save took.", saveBuckets)
	m.fences = m.histogram("fence_duration_seconds", "How long a gap of ids held up the feed until every transaction that could fill it had ended.", fenceBuckets)
	m.activities = m.counter("activities_read_total", "Activities read from the database.")
	m.givenUp = m.counter("deliveries_given_up_total", "Deliveries given up into dead_letter by this process.")
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

	m.connectionsClosed = m.counter("admin_connections_closed_total", "Connections to the admin address that were closed because too many were open.")

	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"name": name, "version": version, "goversion": runtime.Version()},
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
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeResetAfter,
	})
	m.registry.MustRegister(h)
	return h
}

// Delivery counts one POST: the class of its outcome (the text of deliver.Class) and how long it took. trace is the id of
// its trace, where there is one that is kept: it becomes an exemplar.
func (m *Metrics) Delivery(class string, took time.Duration, trace string) {
	counter, known := m.deliveries[class]
	if !known {
		counter = m.others.WithLabelValues("unknown")
	}
	counter.Inc()
	observe(m.delivery, took, trace)
}

// CommitToDelivery counts the age of an activity at the moment that one inbox took it. A negative one, of clocks that
// differ, counts as zero. trace is as in [Metrics.Delivery].
func (m *Metrics) CommitToDelivery(age time.Duration, trace string) {
	observe(m.commit, max(age, 0), trace)
}

func observe(h prometheus.Histogram, took time.Duration, trace string) {
	if trace == "" {
		h.Observe(took.Seconds())
		return
	}
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": trace})
}

// Signed counts one signature.
func (m *Metrics) Signed(took time.Duration) { m.signing.Observe(took.Seconds()) }

// Saved counts one save of cursors that reached the database.
func (m *Metrics) Saved(took time.Duration) { m.saves.Observe(took.Seconds()) }

// ActivitiesRead counts rows that the feed or a catch-up read.
func (m *Metrics) ActivitiesRead(n int) { m.activities.Add(float64(n)) }

// DeadLetters counts deliveries that were given up.
func (m *Metrics) DeadLetters(n int) { m.givenUp.Add(float64(n)) }

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

// Gather is for who serves the metrics beside those of a program of his own.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// Handler serves the metrics in the formats that Prometheus asks for; exemplars are in OpenMetrics and in its protocol
// buffers, native histograms in the latter.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Timeout:             scrapeTimeout,
		MaxRequestsInFlight: 4,
		ErrorHandling:       promhttp.ContinueOnError,
		EnableOpenMetrics:   true,
	})
}
