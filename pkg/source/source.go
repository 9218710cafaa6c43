// Package source reads the Dockerfiles of managed images: from a forge, a git server, or a local checkout.
package source

import (
	"context"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// MaxFileBytes is the largest size of a Dockerfile. Public ones have at most a few ten KiB.
const MaxFileBytes = 1 << 20

// Source reads Dockerfiles.
type Source interface {
	// Dockerfile reads the Dockerfile of a managed image. What is known about it may save requests.
	Dockerfile(ctx context.Context, img *config.Image, known Known) (*File, error)
}

// Known is the state of a Dockerfile in an earlier run.
type Known struct {
	Commit string
	Digest string // of the content, as sha256:...
}

// File is a Dockerfile.
type File struct {
	Path    string // for messages
	Content []byte
	Commit  string // that has this content; "" if unknown
}
