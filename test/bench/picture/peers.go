package main

import (
	"fmt"

	"github.com/fedsender/fedsender/test/bench/results"
)

const peersPicture = "performance-peers.svg"

// contenders are the names of the peers scenario, as they are shown.
var contenders = []struct{ name, shown string }{
	{"Fedify", "Fedify"},
	{"River", "River"},
	{"bare loop", "bare Go loop"},
	{"ours, crypto/rsa", "sender, crypto/rsa"},
	{"ours, libcrypto", "sender, libcrypto"},
	{"ours, Ed25519", "sender, Ed25519 keys"},
	{"ours, besides RSA", "sender, besides RSA"},
}

// cellOf is a contender's with so many processes and that scheme.
func cellOf(peers *results.Scenario, name, scheme string, processes int) *results.Cell {
	return peers.Find(fmt.Sprintf("%s, %s, %d", name, scheme, processes))
}

// bar is one line of a panel: its parts are drawn one after the other.
type bar struct {
	label string
	parts []float64
}

const (
	barHeight  = 13
	rowHeight  = 40
	labelWidth = 150
	panelWidth = 410
)

// drawPeers shows how many deliveries a second one process makes, and what each costs.
func drawPeers(measured *results.Results) string {
	peers := measured.Scenario("peers")
	c := &canvas{width: 2*panelWidth + 40}
	var rates, costs [2][]bar            // plain, TLS
	for _, who := range contenders[:6] { // the last one signs nothing
		for i, scheme := range []string{"http", "https"} {
			cell := cellOf(peers, who.name, scheme, 1)
			rate, ok := cell.Median(results.Rate)
			if !ok {
				continue
			}
			sender, _ := cell.Median(results.SenderCPU)
			postgres, _ := cell.Median(results.PostgresCPU)
			rates[i] = append(rates[i], bar{who.shown, []float64{rate}})
			costs[i] = append(costs[i], bar{who.shown, []float64{sender, max(0, postgres)}})
		}
	}
	c.height = 90 + rowHeight*float64(len(rates[0]))
	c.panel(10, "Deliveries a second, one process", rates, []string{"c1", "c2"})
	c.panel(panelWidth+30, "Processor time a delivery, µs", costs, []string{"c1", "c2"})
	y := c.height - 12
	c.legend(10, y, []entry{{"c1", "plain HTTP"}, {"c2", "TLS 1.3"}})
	c.legend(panelWidth+30, y, []entry{{"c1", "plain HTTP"}, {"c2", "TLS 1.3"}, {"c5", "of it Postgres"}})
	return c.String()
}

// panel draws pairs of bars, plain above TLS.
func (c *canvas) panel(x float64, title string, bars [2][]bar, classes []string) {
	c.text("title", x, 22, "start", title)
	most := 0.0
	for _, list := range bars {
		for _, b := range list {
			most = max(most, sum(b.parts))
		}
	}
	scale := (panelWidth - labelWidth - 60) / max(most, 1)
	for row := range bars[0] {
		top := 44 + rowHeight*float64(row)
		c.text("", x+labelWidth-8, top+barHeight+5, "end", bars[0][row].label)
		for i, list := range bars {
			if row >= len(list) {
				continue
			}
			at, y := x+labelWidth, top+float64(i)*(barHeight+2)
			for part, value := range list[row].parts {
				class := classes[i]
				if part > 0 {
					class = "c5"
				}
				if value*scale >= 0.5 || part == 0 {
					c.rect(class, at, y, value*scale, barHeight)
				}
				at += value * scale
			}
			c.text("small value", at+5, y+barHeight-3, "start", number(sum(list[row].parts)))
		}
	}
	c.line("axis", x+labelWidth, 38, x+labelWidth, 38+rowHeight*float64(len(bars[0])))
}

type entry struct{ class, text string }

func (c *canvas) legend(x, y float64, entries []entry) {
	for _, e := range entries {
		c.rect(e.class, x, y-9, 10, 10)
		c.text("small", x+15, y, "start", e.text)
		x += 30 + 7*float64(len(e.text))
	}
}

func sum(values []float64) (total float64) {
	for _, value := range values {
		total += value
	}
	return total
}
