package demo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

const (
	// minWidth and minHeight are what the pictures need; a smaller terminal gets lines.
	minWidth, minHeight = 80, 20

	// ECMA-48.
	bold, dim, green, red, plain = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"
	eraseLine, eraseBelow        = "\x1b[K", "\x1b[J"
)

// screen prints lines, and below them, on a terminal, a block that is drawn again and again. Its methods are safe for
// several goroutines.
type screen struct {
	out   io.Writer
	fail  func(error) // of writing
	live  bool        // blocks are drawn
	color bool
	start time.Time

	mu    sync.Mutex
	block []string
	drawn int // lines of the block that are on the terminal
}

func newScreen(out io.Writer, fail func(error)) *screen {
	s := &screen{out: out, fail: fail, start: time.Now()}
	file, ok := out.(*os.File)
	if !ok || !isatty.IsTerminal(file.Fd()) || os.Getenv("TERM") == "dumb" {
		return s
	}
	s.color = os.Getenv("NO_COLOR") == ""
	width, height, err := term.GetSize(int(file.Fd()))
	s.live = err == nil && width >= minWidth && height >= minHeight
	return s
}

// paint is for text that stands by itself.
func (s *screen) paint(style, text string) string {
	if !s.color {
		return text
	}
	return style + text + plain
}

func (s *screen) title(text string) { s.print("", "  "+s.paint(bold, text), "") }

// event prints a line with the time since the start.
func (s *screen) event(format string, arguments ...any) {
	at := fmt.Sprintf("%6.1f s", time.Since(s.start).Seconds())
	s.print(s.paint(dim, at) + "  " + fmt.Sprintf(format, arguments...))
}

// more goes on with an event.
func (s *screen) more(format string, arguments ...any) {
	s.print(strings.Repeat(" ", 10) + fmt.Sprintf(format, arguments...))
}

// print prints lines above the block.
func (s *screen) print(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paintAll(lines)
}

// draw replaces the block. It does nothing where that can't be done.
func (s *screen) draw(block []string) {
	if !s.live {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block = block
	s.paintAll(nil)
}

// clear removes the block.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block = nil
	s.paintAll(nil)
}

// paintAll puts lines where the block was and the block below them, in one write, so that nothing flickers.
func (s *screen) paintAll(lines []string) {
	var text bytes.Buffer
	end := "\n"
	if s.drawn > 0 {
		fmt.Fprintf(&text, "\r\x1b[%dA", s.drawn)
		end = eraseLine + "\n"
	}
	for _, line := range slices.Concat(lines, s.block) {
		text.WriteString(line + end)
	}
	if s.drawn > 0 {
		text.WriteString(eraseBelow)
	}
	s.drawn = len(s.block)
	if _, err := text.WriteTo(s.out); err != nil {
		s.fail(fmt.Errorf("write what is shown: %w", err))
	}
}
