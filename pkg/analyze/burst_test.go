package analyze

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestFewAnalyzeAtOnce: however many analyses wait in a burst, few begin while the first of them works.
func TestFewAnalyzeAtOnce(t *testing.T) {
	const images, work, repeats = 300, 10 * time.Second, 200
	const most = waitWorks * work
	r := rand.New(rand.NewPCG(1, 2))
	for _, waiting := range []int{8, 30, 100, 300} {
		var began int
		var first time.Duration
		for range repeats {
			waits := make([]time.Duration, waiting)
			shortest := most
			for n := range waits {
				waits[n] = waitIn(images, most, 1-r.Float64())
				shortest = min(shortest, waits[n])
			}
			first += shortest
			for _, w := range waits {
				if w < shortest+work {
					began++
				}
			}
		}
		t.Logf("%d analyses wait: after %s, %.1f begin", waiting, (first / repeats).Round(time.Second), float64(began)/repeats)
		assert.Less(t, float64(began)/repeats, 4.0, "%d analyses wait", waiting)
		assert.Less(t, first/repeats, most, "%d analyses wait", waiting)
	}
	assert.Equal(t, time.Second, waitIn(1, most, 1e-9))
	assert.Equal(t, most, waitIn(1, most, 1))
}
