package admin_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/admin"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

const reference = "../docs/metrics.md"

// complete are metrics with everything that can be watched.
func complete() *admin.Metrics {
	m := admin.NewMetrics("here-1", "v1.2.3")
	one := func() float64 { return 1 }
	var gauges admin.Gauges
	var counts admin.Counts
	for _, watched := range []reflect.Value{reflect.ValueOf(&gauges).Elem(), reflect.ValueOf(&counts).Elem()} {
		for i := range watched.NumField() {
			watched.Field(i).Set(reflect.ValueOf(one))
		}
	}
	figures := func() []admin.Figure {
		return []admin.Figure{{Domain: "toad.example", Value: 2}, {Domain: "not\xffUTF-8", Value: 1}}
	}
	m.Watch(gauges)
	m.WatchCounts(counts)
	m.WatchSignatures(func() (byLibcrypto, byGo float64) { return 1, 1 }, one)
	m.WatchStates(func() map[string]int { return map[string]int{"ok": 1, "failing": 0} })
	m.WatchWorst(figures, figures)
	return m
}

func TestMetrics_AreAllInTheReference(t *testing.T) {
	families, err := complete().Gather()
	require.NoError(t, err)
	var rows strings.Builder
	rows.WriteString("| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "fedsender_") {
			fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()),
				labels(family), strings.TrimSuffix(family.GetHelp(), "."))
		}
	}
	page, err := os.ReadFile(reference)
	require.NoError(t, err)
	table := regexp.MustCompile(`(?m)^\| name \| type \|.*\n(\|.*\n)+`)
	if *update {
		require.NoError(t, os.WriteFile(reference, table.ReplaceAllLiteral(page, []byte(rows.String())), 0o644))
		return
	}
	require.Equal(t, rows.String(), string(table.Find(page)), "go test ./admin -run Reference -update writes it")
}

func labels(family *dto.MetricFamily) string {
	var names []string
	for _, label := range family.GetMetric()[0].GetLabel() {
		names = append(names, "`"+label.GetName()+"`")
	}
	return strings.Join(names, ", ")
}

func TestMetrics_FollowTheConventionsOfPrometheus(t *testing.T) {
	families, err := complete().Gather()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, family := range families {
		names[family.GetName()] = true
	}
	for _, family := range families {
		name, kind := family.GetName(), family.GetType()
		if !strings.HasPrefix(name, "fedsender_") {
			continue
		}
		require.NotEmpty(t, family.GetHelp(), name)
		require.False(t, names[name+"_total"], "OpenMetrics calls the family of %[1]s_total %[1]s", name)
		require.Regexp(t, `^fedsender_[a-z_]+[a-z]$`, name)
		require.Equal(t, kind == dto.MetricType_COUNTER, strings.HasSuffix(name, "_total"), "%s: counters, and only they, end in _total", name)
		require.NotRegexp(t, `_(ms|milliseconds|minutes|kb|percent)(_|$)`, name, "base units only")
		if kind == dto.MetricType_HISTOGRAM {
			require.True(t, strings.HasSuffix(name, "_seconds"), name)
			histogram := family.GetMetric()[0].GetHistogram()
			require.NotEmpty(t, histogram.GetBucket(), name)
			require.NotNil(t, histogram.Schema, "%s is native too", name)
		}
	}
}

// Who reads a trace's exemplar gets from a slow delivery to the trace of it.
func TestMetrics_ShowExemplarsInOpenMetrics(t *testing.T) {
	m := admin.NewMetrics("here-1", "v1.2.3")
	m.Delivery("delivered", 0, "0af7651916cd43dd8448eb211c80319c")
	families, err := m.Gather()
	require.NoError(t, err)
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "fedsender_delivery_duration_seconds" })
	require.Contains(t, families[i].String(), "0af7651916cd43dd8448eb211c80319c")
}
