// Package fleetgen writes fleets of any size to measure with.
package fleetgen

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Write writes images.yaml and a checkout with the Dockerfiles of n images: n/10 base images, one to three of them
// used by each image, and a fifth of the images built on another one. The same n gives the same fleet.
func Write(dir string, n int) error {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	var enroll strings.Builder
	enroll.WriteString("factory:\n  state: {url: \"https://github.com/acme/image-factory.git\"}\nimages:\n")
	for i := range n {
		name := fmt.Sprintf("service-%05d", i)
		fmt.Fprintf(&enroll, `- name: %[1]s
  registry: ghcr.io
  repository: acme/%[1]s
  source:
    provider: github
    repo: acme/%[1]s
    branch: main
    dockerfile: Dockerfile
    workflow: build.yml
  rebuildDelay: 7d
`, name)
		if err := writeFile(filepath.Join(dir, "src", name, "Dockerfile"), dockerfileOf(r, i, n)); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, "images.yaml"), enroll.String())
}

func dockerfileOf(r *rand.Rand, i, n int) string {
	base := func() string {
		b := r.IntN(max(n/10, 1))
		return fmt.Sprintf("docker.io/library/base%d:%d.%d-slim", b%97, b/97, b%7)
	}
	last := base()
	if i > 0 && r.IntN(5) == 0 {
		last = fmt.Sprintf("ghcr.io/acme/service-%05d:1.0.0", r.IntN(i))
	}
	var b strings.Builder
	b.WriteString("# syntax=docker/dockerfile:1\nARG VERSION=1.0\n")
	stages := r.IntN(3)
	for s := range stages {
		fmt.Fprintf(&b, `FROM %s AS build%d
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/root/.cache make deps
COPY . .
RUN make build%d VERSION=${VERSION}
`, base(), s, s)
	}
	fmt.Fprintf(&b, "FROM %s\nENV PORT=8080\nRUN adduser --system app && \\\n    mkdir -p /app\n", last)
	for s := range stages {
		fmt.Fprintf(&b, "COPY --from=build%d /src/out /app/%d\n", s, s)
	}
	b.WriteString("USER app\nEXPOSE 8080\nHEALTHCHECK CMD [\"/app/check\"]\nENTRYPOINT [\"/app/run\"]\n")
	return b.String()
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}
