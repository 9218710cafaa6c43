// Package source reads the Dockerfiles of managed images from where they live: a forge, a git server, or a checkout on this
// machine.
package source

import (
	"context"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// MaxFileBytes bounds a Dockerfile. The largest in public use have some ten KiB.
const MaxFileBytes = 1 << 20

// Source reads Dockerfiles.
type Source interface {
	// Dockerfile reads the Dockerfile of a managed image. What is known of it may save requests.
	Dockerfile(ctx context.Context, img *config.Image, known Known) (*File, error)
}

// Known is what is known of a Dockerfile from before.
type Known struct {
	Commit string
	Digest string // of the content, as sha256:...
}

// File is a Dockerfile as it was found.
type File struct {
	Path    string // for messages: where it was read
	Content []byte
	Commit  string // at which this content was seen; empty when no commit vouches for it
}
