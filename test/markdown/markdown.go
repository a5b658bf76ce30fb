// Package markdown reads the fenced blocks of the project's Markdown documents, so that tests can run what these tell people
// to run and compare what they show with the files that they show.
//
// A comment on the line above a fence says what a test does with the block:
//
//	<!-- file: deploy/lemmy/role.sql -->
//	```sql
package markdown

import (
	"fmt"
	"os"
	"strings"
)

// Block is what stands between two fences.
type Block struct {
	Language string // of the fence: sh, sql, yaml
	Note     string // the comment above it; empty: none
	Text     string // with the newline at its end
	Line     int    // of the opening fence, counted from 1
}

// Blocks returns all of a document, in order.
func Blocks(path string) ([]Block, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	blocks, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return blocks, nil
}

const fence = "```"

func parse(text string) ([]Block, error) {
	var blocks []Block
	var open *Block
	note := ""
	for n, line := range strings.Split(text, "\n") {
		switch {
		case open != nil && strings.TrimSpace(line) == fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		case strings.HasPrefix(line, fence):
			open = &Block{Language: strings.TrimPrefix(line, fence), Note: note, Line: n + 1}
		case strings.HasPrefix(strings.TrimSpace(line), fence) || strings.HasPrefix(strings.TrimSpace(line), "~~~"):
			return nil, fmt.Errorf("%d: a block begins with %s at the beginning of the line, or no test finds it", n+1, fence)
		}
		comment, isComment := strings.CutPrefix(strings.TrimSpace(line), "<!-- ")
		note = ""
		if isComment {
			note = strings.TrimSuffix(comment, " -->")
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%d: the block is not closed", open.Line)
	}
	return blocks, nil
}

// File is the path that the block shows all of; empty: it shows none.
func (b Block) File() string {
	path, _ := strings.CutPrefix(b.Note, "file: ")
	if path == b.Note {
		return ""
	}
	return path
}
