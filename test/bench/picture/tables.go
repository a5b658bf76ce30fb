package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fedsender/fedsender/test/bench/results"
)

// tables is what stands between the marks: the parts that were measured.
func tables(measured *results.Results) string {
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(measured.Versions)) {
		versions = append(versions, name+" "+measured.Versions[name])
	}
	text := fmt.Sprintf("Measured by `make bench` on %s; %s, commit %s, %s. Medians of %d runs, each with all contenders in another order; "+
		"ratios are medians of those within a run.\n", measured.Machine, strings.Join(versions, ", "), measured.Commit,
		measured.When.Format("2 January 2006"), runs(measured))
	for _, part := range []func(*results.Results) string{
		beside, ratios, allocations, curveTables, skipsTable, latencyTable, distanceTable,
	} {
		if more := part(measured); more != "" {
			text += "\n" + more
		}
	}
	return text
}

func runs(measured *results.Results) (most int) {
	for _, cell := range measured.Scenario("peers").Cells {
		most = max(most, len(cell.Figures[results.Rate]))
	}
	return most
}

// table is in Markdown. Without rows there is none.
func table(head []string, rows [][]string) string {
	if len(rows) == 0 {
		return ""
	}
	text := "| " + strings.Join(head, " | ") + " |\n|" + strings.Repeat("---|", len(head)) + "\n"
	for _, row := range rows {
		text += "| " + strings.Join(row, " | ") + " |\n"
	}
	return text
}

// shown is the median of a figure, and a blank where it was not measured.
func shown(cell *results.Cell, figure string) string {
	value, ok := cell.Median(figure)
	if !ok {
		return ""
	}
	return number(max(0, value))
}

func beside(measured *results.Results) string {
	peers, text := measured.Scenario("peers"), ""
	for _, processes := range []int{1, 3} {
		for _, scheme := range []string{"http", "https"} {
			var rows [][]string
			for _, who := range contenders {
				if cell := cellOf(peers, who.name, scheme, processes); cell != nil {
					rows = append(rows, []string{
						who.shown, shown(cell, results.Rate), shown(cell, results.SenderCPU), shown(cell, results.PostgresCPU), shown(cell, results.ReceiverCPU),
					})
				}
			}
			what := map[string]string{"http": "plain HTTP/1.1", "https": "TLS 1.3"}[scheme]
			many := map[int]string{1: "one process", 3: "three processes"}[processes]
			if part := table([]string{many + ", " + what, "deliveries/s", "µs a delivery: sender", "Postgres", "receiver"}, rows); part != "" {
				text += part + "\n"
			}
		}
	}
	if text == "" {
		return ""
	}
	return "![Deliveries a second and processor time](" + peersPicture + ")\n\n" + strings.TrimSuffix(text, "\n")
}

// ratios hold ours against the peers, within each run.
func ratios(measured *results.Results) string {
	peers := measured.Scenario("peers")
	var rows [][]string
	for _, ours := range contenders[3:6] {
		for _, other := range contenders[:3] {
			row := []string{ours.shown + " : " + other.shown}
			for _, figure := range []string{results.Rate, results.TotalCPU} {
				for _, processes := range []int{1, 3} {
					for _, scheme := range []string{"http", "https"} {
						a, b := cellOf(peers, ours.name, scheme, processes), cellOf(peers, other.name, scheme, processes)
						if figure == results.TotalCPU {
							a, b = a.Sum(figure, results.SenderCPU, results.PostgresCPU), b.Sum(figure, results.SenderCPU, results.PostgresCPU)
						}
						row = append(row, ratio(a, b, figure))
					}
				}
			}
			if strings.Join(row[1:], "") != "" {
				rows = append(rows, row)
			}
		}
	}
	return table([]string{
		"", "deliveries/s: 1, plain", "1, TLS", "3, plain", "3, TLS", "processor time, Postgres included: 1, plain", "1, TLS", "3, plain", "3, TLS",
	}, rows)
}

// ratio says how many times as good a is: more of what is wanted, or less of what is not.
func ratio(a, b *results.Cell, figure string) string {
	value, ok := a.Ratio(b, figure)
	if figure != results.Rate {
		value, ok = b.Ratio(a, figure)
	}
	if !ok {
		return ""
	}
	return fmt.Sprintf("× %.2f", value)
}

func allocations(measured *results.Results) string {
	var rows [][]string
	for _, who := range contenders[3:] {
		for _, scheme := range []string{"http", "https"} {
			if cell := cellOf(measured.Scenario("peers"), who.name, scheme, 1); cell != nil {
				what := who.shown + map[string]string{"http": ", plain", "https": ", TLS"}[scheme]
				rows = append(rows, []string{what, shown(cell, results.Allocations), shown(cell, results.AllocBytes)})
			}
		}
	}
	return table([]string{"one process", "allocations a delivery", "bytes"}, rows)
}

func curveTables(measured *results.Results) string {
	text := ""
	for _, curve := range curves {
		cells := measured.Scenario(curve.name).Cells
		if len(cells) < 2 {
			continue
		}
		head, cost, relative := []string{curve.title}, []string{"µs a delivery, besides RSA"}, []string{"of the first"}
		rate, memory := []string{"deliveries/s"}, []string{"MiB resident, all processes"}
		for _, cell := range cells {
			head = append(head, short(cell.X))
			cost = append(cost, shown(cell, results.SenderCPU))
			share, _ := cell.Ratio(cells[0], results.SenderCPU)
			relative = append(relative, fmt.Sprintf("%.0f %%", 100*share))
			rate = append(rate, shown(cell, results.Rate))
			memory = append(memory, shown(cell, results.Resident))
		}
		text += table(head, [][]string{cost, relative, rate, memory}) + "\n"
	}
	if text == "" {
		return ""
	}
	return "![What a delivery costs as one thing grows](" + curvesPicture + ")\n\n" + strings.TrimSuffix(text, "\n")
}

func skipsTable(measured *results.Results) string {
	var rows [][]string
	for _, cell := range measured.Scenario("skips").Cells {
		rows = append(rows, []string{number0(cell.X), shown(cell, results.SenderCPU), shown(cell, results.Resident), shown(cell, results.PerInstance)})
	}
	return table([]string{"instances held", "µs an activity that none of them wants", "MiB resident while idle", "KiB an instance"}, rows)
}

func latencyTable(measured *results.Results) string {
	var rows [][]string
	for _, cell := range measured.Scenario("latency").Cells {
		rows = append(rows, []string{
			map[string]string{"idle": "idle", "storm": "while an activity goes to 30,000 instances"}[cell.Name],
			shown(cell, results.P50), shown(cell, results.P99), shown(cell, results.Max),
		})
	}
	return table([]string{"commit of a reply → header of its POST at the one host", "p50, ms", "p99", "at most"}, rows)
}

func distanceTable(measured *results.Results) string {
	var head, window, single, times = []string{"host that answers after"}, []string{"deliveries/s, window that adapts"},
		[]string{"one at a time"}, []string{""}
	cells := measured.Scenario("distance").Cells
	for i := 0; i+1 < len(cells); i += 2 {
		head = append(head, fmt.Sprintf("%.0f ms", cells[i].X))
		window = append(window, shown(cells[i], results.Rate))
		single = append(single, shown(cells[i+1], results.Rate))
		times = append(times, ratio(cells[i], cells[i+1], results.Rate))
	}
	if len(cells) == 0 {
		return ""
	}
	return table(head, [][]string{window, single, times})
}

// number0 is a whole number.
func number0(value float64) string { return strings.TrimSuffix(number(value), ".0") }
