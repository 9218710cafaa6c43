package httpx_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

func TestSleep(t *testing.T) {
	require.NoError(t, httpx.Sleep(t.Context(), 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, httpx.Sleep(ctx, time.Hour), context.Canceled)
}
