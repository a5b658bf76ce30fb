package charts

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Grafana's own types know each field of a dashboard, of the options of each kind of panel and of Prometheus' queries.
func TestDashboard_GrafanaReadsIt(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text := string(read(t, root+"deploy/grafana/fedsender.json"))
	// No data source is chosen, so Grafana takes the default one; its types want an empty choice.
	text = strings.Replace(text, `"current": {}`, `"current": {"text": "", "value": ""}`, 1)
	var strict, d dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict([]byte(text)); err != nil && err.Error() != "" { // it returns an empty list for none
		t.Error(err)
	}
	ok(t, json.Unmarshal([]byte(text), &d))
	ok(t, d.Validate())
	panels := 0
	for _, p := range d.Panels {
		if p.Panel != nil && p.Panel.Options == nil {
			t.Errorf("%s has no options", *p.Panel.Title)
		}
		if p.Panel != nil {
			panels++
		}
	}
	if panels < 30 {
		t.Errorf("only %d panels were read", panels)
	}
}
