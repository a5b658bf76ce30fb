package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/fedsender/fedsender/sender"
)

// safe leaves out of a text from elsewhere what would move a terminal's cursor, change its colours or the direction of
// the line. Line ends become spaces.
func safe(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return -1
		}
		return r
	}, text)
}

// shorten keeps a column readable.
func shorten(text string, most int) string {
	runes := []rune(safe(text))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most-1]) + "…"
}

// table prints aligned columns; every cell is made safe.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, header ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

func (t table) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, safe(cell))
	}
	fmt.Fprintln(t.w)
}

func (t table) end() error { return t.w.Flush() }

// printJSON prints one value over several lines.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printJSONLine prints one value on one line.
func printJSONLine(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// count writes 1204577 as 1,204,577.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	first := len(text) - len(strings.TrimPrefix(text, "-"))
	for at := len(text) - 3; at > first; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// plural is "1 id", "2 ids".
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// short writes a duration with its two largest units: 5m20s, 3h4m, 2d7h.
func short(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	hours := int64(d.Round(time.Hour) / time.Hour)
	return fmt.Sprintf("%dd%dh", hours/24, hours%24)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// timeForms are what people write; those without a zone are in the local one.
var timeForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly}

// parseTime reads a time, or a duration before (sign -1) or after (sign 1) now.
func parseTime(text string, now time.Time, sign int) (time.Time, error) {
	for _, form := range timeForms {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	if d, err := sender.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(time.Duration(sign) * d), nil
	}
	return time.Time{}, fmt.Errorf("%s is no time such as 2006-01-02T15:04:05Z and no duration such as 2h or 7d", echo(text))
}

// orEmptyList keeps an empty list from being null in JSON.
func orEmptyList[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
