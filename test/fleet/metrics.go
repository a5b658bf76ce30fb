package fleet

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Metrics reads what the process tells of itself at /metrics, by name; series that differ in labels are added up.
func (s *Sender) Metrics(ctx context.Context) (map[string]float64, error) {
	address, err := s.Admin(ctx)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", s.Name, err)
	}
	defer response.Body.Close()
	found := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		series, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(series, "#") || strings.Contains(series, "{") && strings.Contains(text, " ") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue // of a label with a blank in it; none that is asked for has one
		}
		name, _, _ := strings.Cut(series, "{")
		found[name] += value
	}
	return found, lines.Err()
}
