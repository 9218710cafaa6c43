package source

import "errors"

// problem is an error of the repository or of images.yaml, not of the server: a retry fails until somebody changes one of
// them.
type problem string

func (p problem) Error() string { return string(p) }

// Problem returns why a Dockerfile cannot be read: it does not exist, or is something else. ok is false for an error that
// does not concern the Dockerfile, such as that of a failing server.
func Problem(err error) (text string, ok bool) {
	var p problem
	ok = errors.As(err, &p)
	return string(p), ok
}
