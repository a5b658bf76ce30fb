package results_test

import (
	"path/filepath"
	"testing"

	"github.com/fedsender/fedsender/test/bench/results"
)

func TestResults_AreReadAsTheyWereWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	r, err := results.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	fast, slow := r.Scenario("peers").Cell("fast"), r.Scenario("peers").Cell("slow")
	for i, value := range []float64{1, 100, 3, 4} {
		fast.Add(map[string]float64{results.SenderCPU: value})
		slow.Add(map[string]float64{results.SenderCPU: value * float64(i+2)})
	}
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	again, err := results.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	cell := again.Scenario("peers").Find("fast")
	if median, ok := cell.Median(results.SenderCPU); !ok || median != 3.5 {
		t.Errorf("median %v, %v", median, ok)
	}
	// 2, 3, 4 and 5 times as much: of the ratios, not of the medians.
	if ratio, ok := again.Scenario("peers").Find("slow").Ratio(cell, results.SenderCPU); !ok || ratio != 3.5 {
		t.Errorf("ratio %v, %v", ratio, ok)
	}
	if _, ok := cell.Ratio(nil, results.SenderCPU); ok {
		t.Error("a ratio to nothing")
	}
}
