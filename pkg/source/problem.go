package source

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// problem is an error of the repository or of images.yaml, not of the server: a retry fails until somebody changes one of
// them.
type problem string

func (p problem) Error() string { return string(p) }

// Problem returns why a Dockerfile cannot be read: it does not exist, or is something else. ok is false for an error that
// does not concern the Dockerfile, such as that of a failing server.
func Problem(err error) (text string, ok bool) {
	var p problem
	ok = errors.As(err, &p)
	text = string(p)
	var other *otherFileError
	if errors.As(err, &other) {
		text = other.rename(text)
	}
	return text, ok
}

// NotThere reports whether a file could not be read because the branch or the checkout does not hold it.
func NotThere(err error) bool {
	return errors.Is(err, errNotThere) || errors.Is(err, errNotInCheckout) || errors.Is(err, fs.ErrNotExist)
}

// Other reads another file of the repository and branch of a managed image, such as a bake file, which key of images.yaml names.
func Other(ctx context.Context, s Source, img *config.Image, path, key string, known Known) (*File, error) {
	other, src := *img, *img.Source
	src.Dockerfile = path
	other.Source = &src
	file, err := s.Dockerfile(ctx, &other, known)
	if err != nil {
		return nil, &otherFileError{key, err}
	}
	return file, nil
}

// otherFileError is the error of a file that is not a Dockerfile.
type otherFileError struct {
	key string
	err error
}

func (e *otherFileError) Error() string { return e.rename(e.err.Error()) }
func (e *otherFileError) Unwrap() error { return e.err }

// rename replaces the key that messages about Dockerfiles name.
func (e *otherFileError) rename(text string) string {
	return strings.ReplaceAll(text, "source.dockerfile", e.key)
}
