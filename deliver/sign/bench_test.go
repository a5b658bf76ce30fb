//go:build unix

package sign

import (
	"syscall"
	"testing"
)

// reportCPU adds the processor time of one, which on a machine that does other things says more than the time.
func reportCPU(b *testing.B) (end func()) {
	began := cpu(b)
	return func() { b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op") }
}

func cpu(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// BenchmarkSign is one signature, alone and with as many at a time as there are processors, by each backend.
func BenchmarkSign(b *testing.B) {
	for _, name := range []string{"rsa2048", "rsa4096", "ed25519"} {
		key := testKey(b, name)
		for by, backend := range backends(b) {
			one := func(b *testing.B) {
				if _, err := backend.Sign(key, [][]byte{[]byte(signingString)}); err != nil {
					b.Fatal(err)
				}
			}
			b.Run(name+"/"+by+"/one", func(b *testing.B) {
				b.ReportAllocs()
				defer reportCPU(b)()
				for b.Loop() {
					one(b)
				}
			})
			b.Run(name+"/"+by+"/all", func(b *testing.B) {
				b.ReportAllocs()
				defer reportCPU(b)()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						one(b)
					}
				})
			})
		}
	}
}

// BenchmarkVerify is what a check costs.
func BenchmarkVerify(b *testing.B) {
	key := testKey(b, "rsa2048")
	signatures, err := Go{}.Sign(key, [][]byte{[]byte(signingString)})
	if err != nil {
		b.Fatal(err)
	}
	defer reportCPU(b)()
	for b.Loop() {
		if !key.verify([]byte(signingString), signatures[0]) {
			b.Fatal("wrong")
		}
	}
}

// nothing signs at once.
type nothing struct{}

func (nothing) Lanes() int { return 1 }

func (nothing) Sign(_ *Key, messages [][]byte) ([][]byte, error) { return messages, nil }

// BenchmarkStage is what a turn costs besides the signature: where there is one, and where a thousand wait.
func BenchmarkStage(b *testing.B) {
	key := testKey(b, "rsa2048")
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		stage := NewStage(nothing{}, 0, nil)
		defer reportCPU(b)()
		for b.Loop() {
			if _, err := stage.Sign(b.Context(), Request{Key: key, Message: text(signingString)}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("crowd", func(b *testing.B) {
		b.ReportAllocs()
		stage := NewStage(nothing{}, 2, nil)
		b.SetParallelism(500)
		defer reportCPU(b)()
		b.RunParallel(func(pb *testing.PB) {
			flow := new(int)
			for pb.Next() {
				if _, err := stage.Sign(b.Context(), Request{Key: key, Flow: flow, Message: text(signingString)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
