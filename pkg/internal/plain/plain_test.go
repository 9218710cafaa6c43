package plain_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/internal/plain"
)

func TestPlain(t *testing.T) {
	const text = "a  b\r\n\x1b[31mé\u202e\u00a0c"
	assert.Equal(t, "a  b   [31mé  c", plain.Line(text))
	assert.Equal(t, "a b [31mé c", plain.Words(text))
	assert.Equal(t, "éé...", plain.Cut("ééé", 2))
	assert.Equal(t, "ééé", plain.Cut("ééé", 3))
}
