package page

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// functions are what the templates use. All of them return text, which the templates escape.
var functions = template.FuncMap{
	"count":    func(n any) string { return count(toInt(n)) },
	"decimal":  decimal,
	"duration": short,
	"seconds":  secondsOf,
	"since":    time.Since,
	"ago":      ago,
	"until":    until,
	"stamp":    stamp,
	"machine":  func(at time.Time) string { return at.UTC().Format(time.RFC3339) },
	"cut":      cut,
	"sign":     sign,
	"share":    share,
	"plural":   func(n any, one, many string) string { return plural(toInt(n), one, many) },
	"list":     func(of ...any) []any { return of },
	"asset":    asset,
}

func toInt(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int32:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

// count is a number with thin marks between thousands: 1,234,567.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "−", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// decimal has a digit behind the point below 100.
func decimal(f float64) string {
	if f >= 99.95 {
		return count(int64(f + .5))
	}
	return strconv.FormatFloat(f, 'f', 1, 64)
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// secondsOf takes what may be unknown too.
func secondsOf(s any) time.Duration {
	switch s := s.(type) {
	case float64:
		return seconds(s)
	case *float64:
		if s != nil {
			return seconds(*s)
		}
	}
	return 0
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// short is a duration in its two largest units: 3d 4h, 5m 20s, 40s.
func short(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	if d < time.Second {
		return "0s"
	}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf(" %d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0s"
}

func ago(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	if since := time.Since(at); since >= time.Second {
		return short(since) + " ago"
	}
	return "just now"
}

// until is how long until then: in 5m 20s, due, or nothing for a time that is unknown.
func until(at time.Time) string {
	switch left := time.Until(at); {
	case at.IsZero():
		return ""
	case left < time.Second:
		return "due"
	default:
		return "in " + short(left)
	}
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }

// cut ends a long text with an ellipsis.
func cut(most int, text string) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	runes := []rune(text)
	return strings.TrimRight(string(runes[:most-1]), " ") + "…"
}

func urlEscape(text string) string { return url.QueryEscape(text) }

// sign is a mark for a state, beside its name: nothing is told by colour alone.
func sign(state string) string {
	switch state {
	case "ok":
		return "●"
	case "lagging":
		return "◐"
	case "failing":
		return "▲"
	case "dead":
		return "✕"
	case "paused":
		return "❚❚"
	case "blocked":
		return "⊘"
	}
	return "○"
}

// share is a part of a whole in percent, for the width of a bar.
func share(part, whole any) string {
	p, w := toFloat(part), toFloat(whole)
	if w <= 0 || p <= 0 {
		return "0"
	}
	return strconv.FormatFloat(min(100, max(.4, p/w*100)), 'f', 2, 64)
}

func toFloat(n any) float64 {
	if f, ok := n.(float64); ok {
		return f
	}
	return float64(toInt(n))
}
