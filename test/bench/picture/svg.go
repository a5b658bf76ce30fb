package main

import (
	"fmt"
	"html"
	"strings"
)

// canvas collects the elements of a picture. Colours are those of classes, which differ on light and on dark pages.
type canvas struct {
	width, height float64
	body          strings.Builder
}

const style = `
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #3b4252; }
.title { font-weight: 600; font-size: 14px; fill: #1f2430; }
.small { font-size: 11px; fill: #6b7280; }
.value { font-variant-numeric: tabular-nums; }
.axis { stroke: #c4c9d4; stroke-width: 1; }
.c1 { fill: #2563eb; } .c2 { fill: #93b4f5; } .c3 { fill: #9ca3af; } .c4 { fill: #d1d5db; } .c5 { fill: #f59e0b; }
.line { fill: none; stroke: #2563eb; stroke-width: 2; } .range { stroke: #2563eb; stroke-width: 1; opacity: .5; }
.band { fill: #2563eb; opacity: .1; }
@media (prefers-color-scheme: dark) {
  text { fill: #c9d1d9; } .title { fill: #f0f3f6; } .small { fill: #9198a1; } .axis { stroke: #3d444d; }
  .c1 { fill: #58a6ff; } .c2 { fill: #2f5f9e; } .c3 { fill: #7d8590; } .c4 { fill: #484f58; } .c5 { fill: #d29922; }
  .line, .range { stroke: #58a6ff; } .band { fill: #58a6ff; opacity: .14; }
}
`

// String is the whole picture.
func (c *canvas) String() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">
<style>%s</style>
%s</svg>
`, c.width, c.height, c.width, c.height, style, c.body.String())
}

func (c *canvas) text(class string, x, y float64, anchor, text string) {
	fmt.Fprintf(&c.body, "<text class=%q x=\"%.1f\" y=\"%.1f\" text-anchor=%q>%s</text>\n", class, x, y, anchor, html.EscapeString(text))
}

func (c *canvas) rect(class string, x, y, width, height float64) {
	fmt.Fprintf(&c.body, "<rect class=%q x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"1.5\"/>\n", class, x, y, max(width, 0.5), height)
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.body, "<line class=%q x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

func (c *canvas) circle(class string, x, y float64) {
	fmt.Fprintf(&c.body, "<circle class=%q cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", class, x, y)
}

// path joins points, which are x and y in turn.
func (c *canvas) path(class string, points []float64) {
	var at []string
	for i := 0; i+1 < len(points); i += 2 {
		at = append(at, fmt.Sprintf("%.1f,%.1f", points[i], points[i+1]))
	}
	fmt.Fprintf(&c.body, "<polyline class=%q points=%q/>\n", class, strings.Join(at, " "))
}

// number is short and has a comma for each three digits.
func number(value float64) string {
	switch {
	case value == 0:
		return "0"
	case value < 9.95:
		return fmt.Sprintf("%.1f", value)
	case value < 1000:
		return fmt.Sprintf("%.0f", value)
	}
	text := fmt.Sprintf("%.0f", value)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
