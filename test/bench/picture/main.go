// Command picture writes what `make bench` measured into the documentation: tables between two marks in a page, and two
// pictures beside it that can be read on a light and on a dark page.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fedsender/fedsender/test/bench/results"
)

const (
	begin = "<!-- make bench writes from here -->"
	end   = "<!-- to here -->"
)

func main() {
	from := flag.String("results", "results.json", "what was measured")
	page := flag.String("page", "docs/performance.md", "the page with the marks; the pictures go beside it")
	flag.Parse()
	if err := run(*from, *page); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(from, page string) error {
	measured, err := results.Read(from)
	if err != nil {
		return err
	}
	if len(measured.Scenarios) == 0 {
		return fmt.Errorf("%s has no results", from)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no place for the results: %s … %s", page, begin, end)
	}
	text = []byte(before + begin + "\n\n" + tables(measured) + "\n" + end + after)
	dir := filepath.Dir(page)
	return errors.Join(
		os.WriteFile(page, text, 0o644), // #nosec G306: documentation
		os.WriteFile(filepath.Join(dir, peersPicture), []byte(drawPeers(measured)), 0o644),   // #nosec G306: the same
		os.WriteFile(filepath.Join(dir, curvesPicture), []byte(drawCurves(measured)), 0o644), // #nosec G306: the same
	)
}
