package yamlenc

import (
	"errors"
	"fmt"
	"strings"
)

var errInvalidUTF8 = errors.New("invalid UTF-8")

// pathError is an error with the path to its position, which grows at the front on the way up.
type pathError struct {
	steps []string // innermost first
	err   error
}

func (e *pathError) Error() string { return e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

func under(key string, err error) error {
	return within("."+strings.ToValidUTF8(key, "\uFFFD"), err)
}

func underIndex(i int, err error) error {
	return within(fmt.Sprintf("[%d]", i), err)
}

func within(step string, err error) error {
	if pe, ok := err.(*pathError); ok {
		pe.steps = append(pe.steps, step)
		return pe
	}
	return &pathError{steps: []string{step}, err: err}
}

// maxPath bounds the steps named in an error: a value that contains itself has as many as the depth allows.
const maxPath = 20

// locate returns the error of a walk as callers see it.
func locate(err error) error {
	pe, ok := err.(*pathError)
	if !ok {
		return fmt.Errorf("encoding YAML: %w", err)
	}
	var path strings.Builder
	for n, i := 0, len(pe.steps)-1; i >= 0; n, i = n+1, i-1 {
		if n == maxPath {
			path.WriteString("…")
			break
		}
		path.WriteString(pe.steps[i])
	}
	return fmt.Errorf("encoding %q as YAML: %w", strings.TrimPrefix(path.String(), "."), pe.err)
}
