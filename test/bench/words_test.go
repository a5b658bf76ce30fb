package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// inWords lists figures for the log.
func inWords(figures map[string]float64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		words = append(words, fmt.Sprintf("%s %.4g", name, figures[name]))
	}
	return strings.Join(words, ", ")
}
