package main

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

const (
	// leastWidth is what the columns that can't be left out need.
	leastWidth = 40
	// ECMA-48.
	bold, dim, red, green, yellow, plain = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
	// The second screen of a terminal (xterm, DECSET 1049) leaves what was on the first one as it was. On it there is no cursor, and
	// what is too long for a line is cut, so that a picture can't move another part of it.
	alternateScreen, mainScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home, eraseLine, eraseBelow = "\x1b[H", "\x1b[K", "\x1b[J"
)

// look is how text may be laid out where it goes.
type look struct {
	terminal bool
	color    bool // never without terminal; off by NO_COLOR (no-color.org) and TERM=dumb
	width    int  // columns; 0: lines may have any length
	height   int  // lines of the terminal; 0: not known
}

func lookOf(out io.Writer) look {
	file, ok := out.(*os.File)
	if !ok || !isTerminal(out) {
		return look{}
	}
	l := look{terminal: true, color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		l.width, l.height = max(width, leastWidth), height
	}
	return l
}

func (l look) paint(style, text string) string {
	if !l.color || text == "" {
		return text
	}
	return style + text + plain
}

// wrap breaks the text, which is made safe, into lines of at most so many columns, between words where there are any; 0: one line.
func wrap(text string, most int) []string {
	text = safe(text)
	if most <= 0 {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		for columns(word) > most { // an id, or a statement without spaces
			if line != "" {
				lines, line = append(lines, line), ""
			}
			head, rest := cutColumns(word, most)
			lines, word = append(lines, head), rest
		}
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= most:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// columns is how many cells of a terminal the text takes: many scripts of East Asia and pictures take two each (UAX 11).
func columns(text string) (cells int) {
	for _, r := range text {
		cells += cellsOf(r)
	}
	return cells
}

func cellsOf(r rune) int {
	switch kind := width.LookupRune(r).Kind(); {
	case unicode.Is(unicode.Mn, r):
		return 0
	case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cutColumns cuts before the first letter that has no room; at least one is in head.
func cutColumns(text string, most int) (head, rest string) {
	cells := 0
	for at, r := range text {
		if cells += cellsOf(r); cells > most && at > 0 {
			return text[:at], text[at:]
		}
	}
	return text, ""
}
