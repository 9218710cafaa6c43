package forge

import (
	"fmt"
	"strconv"

	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// RefusedError is a permanent error: retrying the same request would fail again.
type RefusedError struct{ Err error }

func (r *RefusedError) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *RefusedError) Unwrap() error { return r.Err }

// StartError names the build that could not be started.
type StartError struct {
	Build string
	Err   error
}

func (e *StartError) Error() string { return "starting " + e.Build + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *StartError) Unwrap() error { return e.Err }

// maybeStarted reports whether the forge may have started a build although the request for it failed.
func maybeStarted(err error) bool {
	e := forgeapi.As(err)
	return e != nil && e.MaybeDone()
}

// refusal turns a permanent error into a [*RefusedError], with what to do about it. Only the response to a request that
// starts a build can be one.
func refusal(err error, advice func(*forgeapi.Error) string) error {
	err = forgeapi.Explain(err, advice)
	if e := forgeapi.As(err); e != nil && e.Permanent() {
		return &RefusedError{e}
	}
	return err
}

// parseID parses the ID of a run, which may come from a file.
func parseID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("invalid run ID %q", id)
	}
	return n, nil
}
