// Package stats computes quantiles.
package stats

import (
	"cmp"
	"math"
)

// Quantile returns the smallest of the sorted values that a share q of them does not exceed; the zero value if there are none.
func Quantile[T cmp.Ordered](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}
