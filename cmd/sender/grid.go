package main

import (
	"io"
	"slices"
	"strings"
)

// column of a [grid].
type column struct {
	title string
	right bool // for numbers
	least int  // columns of the terminal below which it is not cut; 0: never cut
	drop  int  // the column with the highest number is the first to be left out where there is no room; 0: never
}

// grid prints aligned columns as wide as there is room: it cuts what may be cut, then leaves columns out. Every cell is made safe.
type grid struct {
	columns []column
	rows    [][]string
	styles  [][]string // of each cell; empty: plain
}

const gridGap = 2

// row adds one; styles are those of the first cells.
func (g *grid) row(cells []string, styles ...string) {
	for i := range cells {
		cells[i] = safe(cells[i])
	}
	g.rows, g.styles = append(g.rows, cells), append(g.styles, styles)
}

// fit returns the width of each column, 0 for one that is left out.
func (g *grid) fit(room int) []int {
	widths := make([]int, len(g.columns))
	for i, c := range g.columns {
		widths[i] = columns(c.title)
		for _, row := range g.rows {
			widths[i] = max(widths[i], columns(row[i]))
		}
	}
	for over := excess(widths, room); room > 0 && over > 0; over = excess(widths, room) {
		if g.shrink(widths, over) {
			continue
		}
		last := -1
		for i, c := range g.columns {
			if c.drop > 0 && widths[i] > 0 && (last < 0 || c.drop > g.columns[last].drop) {
				last = i
			}
		}
		if last < 0 {
			break
		}
		widths[last] = 0
	}
	return widths
}

func excess(widths []int, room int) int {
	total := -gridGap
	for _, w := range widths {
		if w > 0 {
			total += w + gridGap
		}
	}
	return total - room
}

// shrink takes from the widest column that may be cut; false: none may be cut any more.
func (g *grid) shrink(widths []int, over int) bool {
	widest := -1
	for i, c := range g.columns {
		if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
			widest = i
		}
	}
	if widest < 0 {
		return false
	}
	widths[widest] = max(g.columns[widest].least, widths[widest]-over)
	return true
}

// print writes the title and all rows.
func (g *grid) print(w io.Writer, l look) error {
	widths := g.fit(l.width)
	titles := make([]string, len(g.columns))
	for i, c := range g.columns {
		titles[i] = c.title
	}
	var text strings.Builder
	g.line(&text, l, widths, titles, slices.Repeat([]string{dim}, len(titles)))
	for i, row := range g.rows {
		g.line(&text, l, widths, row, g.styles[i])
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (g *grid) line(text *strings.Builder, l look, widths []int, cells, styles []string) {
	var line strings.Builder
	for i, cell := range cells {
		if widths[i] == 0 {
			continue
		}
		if columns(cell) > widths[i] {
			head, _ := cutColumns(cell, widths[i]-1)
			cell = head + "…"
		}
		padding := strings.Repeat(" ", max(0, widths[i]-columns(cell)))
		shown := cell
		if i < len(styles) && styles[i] != "" {
			shown = l.paint(styles[i], cell)
		}
		if line.Len() > 0 {
			line.WriteString(strings.Repeat(" ", gridGap))
		}
		if g.columns[i].right {
			line.WriteString(padding + shown)
		} else {
			line.WriteString(shown + padding)
		}
	}
	text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}
