package sender

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestProcessors_AreThoseOfTheQuota(t *testing.T) {
	for text, want := range map[string]float64{
		"50000 100000\n": 0.5, "250000 100000": 2.5, "max 100000\n": math.Inf(1), "": math.Inf(1), "x": math.Inf(1), "0 0": math.Inf(1),
	} {
		assert.Equal(t, want, parseQuota(text), text)
	}
	assert.Positive(t, processors())
}
