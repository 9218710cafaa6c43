package stats

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestQuantile(t *testing.T) {
	assert.Equal(t, 0, Quantile([]int{}, 0.5))
	assert.Equal(t, 7, Quantile([]int{7}, 0.5))
	assert.Equal(t, 2, Quantile([]int{1, 2, 3}, 0.5))
	assert.Equal(t, 2, Quantile([]int{1, 2, 3, 4}, 0.5))
	twenty := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	assert.Equal(t, 19, Quantile(twenty, 0.95))
	assert.Equal(t, 20, Quantile(twenty, 1))
	assert.Equal(t, 1, Quantile(twenty, 0))
}
