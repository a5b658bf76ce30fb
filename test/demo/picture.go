package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

const (
	// barWidth and troublesShown make the block 80 columns wide and always as high.
	barWidth      = 24
	troublesShown = 3
)

// picture is the block for a view.
func picture(v view) []string {
	block := []string{"", fmt.Sprintf("  %-11s  %-*s  %8s  %9s  %10s", "", barWidth, "servers held", "", "in flight", "delivered")}
	all := 0
	for _, s := range v.senders {
		all += s.leases
	}
	for _, s := range v.senders {
		held, flight := thousands(s.leases), thousands(s.inFlight)
		if s.ended {
			held, flight = "", "killed"
		}
		block = append(block, fmt.Sprintf("  %-11s  %s  %8s  %9s  %10s", s.name, bar(s.leases, all), held, flight, thousands(s.delivered)))
	}
	block = append(block, "",
		fmt.Sprintf("  %-11s  %s  %8s  of %s, %s a second", "delivered", bar(v.delivered, v.counts.planned),
			thousands(v.delivered), thousands(v.counts.planned), thousands(int(v.perSecond))),
		fmt.Sprintf("  %-11s  %s activities, of which %s deliveries are yet to be made", "committed",
			thousands(v.counts.committed), thousands(max(0, v.counts.deliveries-v.delivered))))
	for i := range troublesShown {
		label, text := "", ""
		if i == 0 {
			label = "waiting for"
		}
		switch {
		case i < len(v.troubles):
			text = v.troubles[i].String()
		case i == 0:
			text = "nobody"
		}
		block = append(block, fmt.Sprintf("  %-11s  %s", label, text))
	}
	if more := len(v.troubles) - troublesShown; more > 0 {
		block[len(block)-1] = fmt.Sprintf("  %-11s  and %d more", "", more+1)
	}
	for i := range block {
		block[i] = shorten(strings.TrimRight(block[i], " "), minWidth-1)
	}
	return block
}

func (t trouble) String() string {
	// The innermost error says it; what is around it are addresses.
	problem := t.problem[strings.LastIndex(t.problem, ": ")+1:]
	if t.status != 0 {
		problem = "HTTP " + strconv.Itoa(t.status)
	}
	next := "is tried now"
	if t.in > 0 {
		next = fmt.Sprintf("next try in %.1f s", t.in.Seconds())
	}
	return fmt.Sprintf("%-16s %4d behind, %s: %s", t.domain, t.behind, next, strings.TrimSpace(problem))
}

// line is a view in one line.
func line(v view) string {
	var held []string
	for _, s := range v.senders {
		if s.ended {
			held = append(held, "-")
		} else {
			held = append(held, thousands(s.leases))
		}
	}
	return fmt.Sprintf("%s of %s delivered; servers held: %s", thousands(v.delivered), thousands(v.counts.deliveries), list(held))
}

// bar is part of all as a bar of barWidth columns.
func bar(part, all int) string {
	full := 0
	if all > 0 {
		full = min(barWidth, (part*barWidth+all/2)/all)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
}

// thousands writes 12640 as 12,640.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// seconds writes a duration as people read it here: 0.41 s, 12.3 s.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func shorten(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// list is "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func names(senders []*fleet.Sender) string {
	var all []string
	for _, s := range senders {
		all = append(all, s.Name)
	}
	return list(all)
}
