package gitea_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/parts"
)

// runner takes the jobs of all repositories. A test decides how each one ends.
type runner struct{ *parts.Runner }

func newRunner(t *testing.T) runner {
	t.Helper()
	r, err := server.NewRunner(t.Context(), "")
	require.NoError(t, err)
	return runner{r}
}

// next returns the next task.
func (r runner) next(t *testing.T) *parts.Task {
	t.Helper()
	task, err := r.Next(t.Context())
	require.NoError(t, err)
	require.NotNil(t, task, "no task")
	return task
}

// end ends a task.
func (r runner) end(t *testing.T, task *parts.Task, result parts.Result) {
	t.Helper()
	require.NoError(t, r.End(t.Context(), task, result))
}
