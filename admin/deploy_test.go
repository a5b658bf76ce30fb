package admin_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const rulesDir = "../deploy/prometheus"

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

type dashboard struct {
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr string }
	}
}

// series are the names that a scrape brings.
func series(t *testing.T) map[string]bool {
	families, err := complete().Gather()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, family := range families {
		names[family.GetName()] = true
		if family.GetType() == dto.MetricType_HISTOGRAM {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[family.GetName()+part] = true
			}
		}
	}
	return names
}

// requireKnown parses an expression and requires that there are all the metrics that it names.
func requireKnown(t *testing.T, known map[string]bool, expression string) {
	t.Helper()
	// Grafana puts a duration in its place.
	parsed, err := metricsql.Parse(strings.ReplaceAll(expression, "$__rate_interval", "1m"))
	require.NoError(t, err, expression)
	count := 0
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		if metric, ok := e.(*metricsql.MetricExpr); ok {
			require.NotEmpty(t, metric.LabelFilterss)
			name := metric.LabelFilterss[0][0]
			require.Equal(t, "__name__", name.Label, expression)
			require.True(t, known[name.Value], "%s is no metric: %s", name.Value, expression)
			count++
		}
	})
	require.Positive(t, count, expression)
}

func readRules(t *testing.T) (r rules) {
	t.Helper()
	text, err := os.ReadFile(rulesDir + "/alerts.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &r))
	require.NotEmpty(t, r.Groups)
	return r
}

func TestAlerts_NameMetricsThatThereAreAndSayWhatToDo(t *testing.T) {
	known, upper := series(t), regexp.MustCompile(`(.)([A-Z])`)
	for _, rule := range readRules(t).Groups[0].Rules {
		requireKnown(t, known, rule.Expr)
		require.Equal(t, "page", rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		_, anchor, _ := strings.Cut(rule.Annotations["runbook_url"], "docs/troubleshooting.md#")
		require.Equal(t, strings.ToLower(upper.ReplaceAllString(rule.Alert, "$1-$2")), anchor)
	}
}

// Prometheus's own tool judges the rules, where it is installed: for each alert, what must make it fire and what must not.
func TestAlerts_FireWhenTheyShould(t *testing.T) {
	text, err := os.ReadFile(rulesDir + "/alerts_test.yaml")
	require.NoError(t, err)
	for _, rule := range readRules(t).Groups[0].Rules {
		require.Contains(t, string(text), `alertname="`+rule.Alert+`", alertstate="firing", severity="page"`, "no test has it fire")
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool")
	}
	for _, arguments := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		command := exec.CommandContext(t.Context(), promtool, arguments...)
		command.Dir = rulesDir
		said, err := command.CombinedOutput()
		require.NoError(t, err, string(said))
	}
}

func TestDashboard_NamesMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../deploy/grafana/fedsender.json")
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	known, ids := series(t), map[int]bool{}
	var taken [200][24]bool
	for _, panel := range d.Panels {
		require.False(t, ids[panel.ID], "two panels have id %d", panel.ID)
		ids[panel.ID] = true
		for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
			for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
				require.False(t, taken[y][x], "%s lies over another panel", panel.Title)
				taken[y][x] = true
			}
		}
		require.Equal(t, panel.Type == "row", len(panel.Targets) == 0, panel.Title)
		for _, target := range panel.Targets {
			requireKnown(t, known, target.Expr)
		}
	}
	for _, variable := range d.Templating.List {
		if name, _, found := strings.Cut(strings.TrimPrefix(variable.Definition, "label_values("), ","); found {
			requireKnown(t, known, strings.TrimSpace(name))
		}
	}
	for name := range known {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		require.True(t, !strings.HasPrefix(name, "fedsender_") || strings.Contains(string(text), base), "no panel shows %s", name)
	}
}
