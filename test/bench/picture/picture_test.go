package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/bench/results"
)

// sample has all cells, of made-up figures: every contender is twice as fast as the one before.
func sample() *results.Results {
	r := &results.Results{Machine: "2 cores", Versions: map[string]string{"Go": "1.26"}, Commit: "abc"}
	rate := 200.0
	for _, who := range contenders {
		for _, processes := range []int{1, 3} {
			for _, scheme := range []string{"http", "https"} {
				cell := r.Scenario("peers").Cell(fmt.Sprintf("%s, %s, %d", who.name, scheme, processes))
				for run := range 5 {
					cell.Add(map[string]float64{
						results.Rate: rate * float64(5+run), results.SenderCPU: 1e6 / rate, results.PostgresCPU: 1e5 / rate, results.ReceiverCPU: 30,
						results.Allocations: 12, results.AllocBytes: 3456,
					})
				}
			}
		}
		rate *= 2
	}
	for _, curve := range curves {
		for step, x := range []float64{1, 100, 30_000} {
			cell := r.Scenario(curve.name).Cell(fmt.Sprint(x))
			cell.X = x
			cell.Add(map[string]float64{results.SenderCPU: 38 + float64(step), results.Rate: 9999, results.Resident: 50})
			cell.Add(map[string]float64{results.SenderCPU: 42 + float64(step), results.Rate: 9999, results.Resident: 50})
		}
	}
	skips := r.Scenario("skips").Cell("10")
	skips.X = 10
	skips.Add(map[string]float64{results.SenderCPU: 3.25, results.Resident: 20, results.PerInstance: 2})
	r.Scenario("latency").Cell("idle").Add(map[string]float64{results.P50: 3, results.P99: 7, results.Max: 9})
	r.Scenario("distance").Cell("window, 0 ms").Add(map[string]float64{results.Rate: 700})
	r.Scenario("distance").Cell("one at a time, 0 ms").Add(map[string]float64{results.Rate: 70})
	return r
}

func TestRun_WritesTablesBetweenTheMarksAndPicturesBesideThePage(t *testing.T) {
	dir := t.TempDir()
	from, page := filepath.Join(dir, "results.json"), filepath.Join(dir, "page.md")
	if err := sample().Write(from); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, []byte("before\n"+begin+"old"+end+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over what the first has written
		if err := run(from, page); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"before\n" + begin, end + "\nafter\n",
		"| Fedify | 1,400 | 5,000 | 500 | 30 |",
		"| sender, libcrypto : River | × 8.00 |",
		"| µs a delivery, besides RSA | 40 | 41 | 42 |\n| of the first | 100 % | 103 % | 105 % |",
		"| 10 | 3.2 | 20 | 2.0 |",
		"| sender, libcrypto, TLS | 12 | 3,456 |",
		"| idle | 3.0 | 7.0 | 9.0 |",
		"|  | × 10.00 |",
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Error("what was between the marks is still there")
	}
	for _, name := range []string{peersPicture, curvesPicture} {
		checkXML(t, filepath.Join(dir, name))
	}
}

func checkXML(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	texts := 0
	for decoder := xml.NewDecoder(file); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if start, is := token.(xml.StartElement); is && start.Name.Local == "text" {
			texts++
		}
	}
	if texts < 20 {
		t.Errorf("%s has %d texts", path, texts)
	}
}

func TestRun_RefusesAPageWithoutMarks(t *testing.T) {
	dir := t.TempDir()
	from, page := filepath.Join(dir, "results.json"), filepath.Join(dir, "page.md")
	if err := sample().Write(from); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(from, page); err == nil {
		t.Error("written somewhere")
	}
}
