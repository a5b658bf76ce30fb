package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/fedsender/fedsender/test/bench/results"
)

const curvesPicture = "performance-curves.svg"

// curves are what grows, in the order in which it is shown.
var curves = []struct{ name, title, unit string }{
	{"instances", "Instances that are held", ""},
	{"targets", "Instances an activity is for", ""},
	{"backlog", "Activities that wait at the start", ""},
	{"processes", "Processes", ""},
	{"bodies", "Bytes of the document", ""},
}

const (
	graphWidth  = 280
	graphHeight = 170
	graphColumn = graphWidth + 30
	graphRow    = graphHeight + 30
	columns     = 3
)

// drawCurves shows what a delivery costs, besides its signature, as one thing grows and all else stays.
func drawCurves(measured *results.Results) string {
	c := &canvas{width: columns*graphColumn - 10}
	rows := (len(curves) + columns - 1) / columns
	c.height = float64(rows*graphRow + 40)
	c.text("title", 10, 22, "start", "Processor time of the senders a delivery besides RSA, µs")
	place := 0
	for _, curve := range curves {
		scenario := measured.Scenario(curve.name)
		if len(scenario.Cells) < 2 {
			continue
		}
		c.graph(float64(10+place%columns*graphColumn), float64(40+place/columns*graphRow), curve.title, scenario)
		place++
	}
	return c.String()
}

// graph draws one curve: the medians, the range of all runs, and a band of 15 % about the first median.
func (c *canvas) graph(x, y float64, title string, scenario *results.Scenario) {
	const left, right, top, bottom = 34, 10, 26, 26
	cells := slices.Clone(scenario.Cells)
	first, most := 0.0, 0.0
	for i, cell := range cells {
		median, _ := cell.Median(results.SenderCPU)
		if i == 0 {
			first = median
		}
		most = max(most, median, first*1.15)
	}
	most *= 1.15
	low, high := math.Log10(cells[0].X), math.Log10(cells[len(cells)-1].X)
	at := func(value float64) float64 {
		return x + left + (math.Log10(value)-low)/(high-low)*(graphWidth-left-right)
	}
	up := func(value float64) float64 {
		return y + graphHeight - bottom - min(value/most, 1)*(graphHeight-top-bottom)
	}
	c.text("", x, y+12, "start", title)
	c.rect("band", x+left, up(first*1.15), graphWidth-left-right, up(first*0.85)-up(first*1.15))
	c.line("axis", x+left, up(0), x+graphWidth-right, up(0))
	for _, tick := range ticks(most) {
		c.text("small value", x+left-5, up(tick)+4, "end", number(tick))
		c.line("axis", x+left-3, up(tick), x+left, up(tick))
	}
	var points []float64
	for _, cell := range cells {
		median, _ := cell.Median(results.SenderCPU)
		all := cell.Figures[results.SenderCPU]
		c.line("range", at(cell.X), up(slices.Min(all)), at(cell.X), up(slices.Max(all)))
		c.text("small value", at(cell.X), y+graphHeight-8, anchor(cell, cells), short(cell.X))
		points = append(points, at(cell.X), up(median))
	}
	c.path("line", points)
	for i := 0; i+1 < len(points); i += 2 {
		c.circle("c1", points[i], points[i+1])
	}
}

// anchor keeps the labels of the ends inside the picture.
func anchor(cell *results.Cell, cells []*results.Cell) string {
	if cell == cells[len(cells)-1] {
		return "end"
	}
	return "middle"
}

// ticks are two or three round numbers up to most.
func ticks(most float64) []float64 {
	step := math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{5, 2, 1} {
		if most/(step*part) >= 2 {
			step *= part
			break
		}
	}
	if most/step < 2 {
		step /= 2
	}
	list := []float64{0}
	for value := step; value <= most; value += step {
		list = append(list, value)
	}
	return list
}

// short is 30k for 30,000.
func short(value float64) string {
	switch {
	case value >= 1e6:
		return fmt.Sprintf("%.3gM", value/1e6)
	case value >= 1000:
		return fmt.Sprintf("%.3gk", value/1000)
	}
	return fmt.Sprintf("%.3g", value)
}
