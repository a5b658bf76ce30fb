package deliver

import (
	"bytes"
	"strings"
	"unicode"
)

// maxReasonRunes keeps a reason within one line of a page or a terminal.
const maxReasonRunes = 200

// printable makes one line of at most maxReasonRunes that is safe on a terminal: strangers write parts of it.
// Control and format characters (escape sequences, bidi overrides) become blanks.
func printable(s string) string {
	var b strings.Builder
	runes, blank := 0, false
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) || r == ' ' {
			blank = runes > 0
			continue
		}
		if blank {
			b.WriteByte(' ')
			runes++
			blank = false
		}
		if runes >= maxReasonRunes-1 {
			b.WriteRune('…')
			break
		}
		b.WriteRune(r)
		runes++
	}
	return b.String()
}

// shorten cuts s to at most n bytes; what remains of a rune is for printable or %q to handle.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// firstLine is the first line with text in the body of an answer. Pages in HTML say nothing in their first line.
func firstLine(contentType string, body []byte) string {
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(contentType)), "text/html") {
		return ""
	}
	for line := range bytes.Lines(body) {
		if text := printable(string(line[:min(len(line), 4*maxReasonRunes)])); text != "" {
			if text[0] == '<' {
				return ""
			}
			return text
		}
	}
	return ""
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
