package fleet

import (
	"slices"
	"strings"
)

// Source is SQL that makes fedsender.source say something else, as another source would. What is not given is as with native.
// Each value is an expression of the column's type.
func Source(given map[string]string) string {
	columns := []struct{ name, native string }{
		{"name", `'native'::text`},
		{"activity_table", `'fedsender.activity'::regclass`},
		{"sequence_cache", `1::bigint`},
		{"variant", `''::text`},
		{"variant_now", `''::text`},
		{"rings", `true`},
		{"stops_on_moved_cursor", `false`},
		{"dead_after_failures", `20`},
		{"explicit_ports", `true`},
		{"unauthorized_tries", `6`},
		{"request_timeout", `null::interval`},
		{"silent_tables", `'{}'::text[]`},
		{"follows_redirects", `true`},
	}
	selected := make([]string, 0, len(columns))
	for name := range given {
		if !slices.ContainsFunc(columns, func(c struct{ name, native string }) bool { return c.name == name }) {
			panic("fedsender.source has no column " + name)
		}
	}
	for _, c := range columns {
		value, ok := given[c.name]
		if !ok {
			value = c.native
		}
		selected = append(selected, value+" as "+c.name)
	}
	return "create or replace view fedsender.source as select " + strings.Join(selected, ", ")
}
