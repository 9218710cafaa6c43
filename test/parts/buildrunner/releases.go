package buildrunner

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// releases is a server from which the actions install imagefactory: whatever version it wants, it gets the program.
type releases struct {
	url    string
	server *http.Server
}

func serveReleases(ctx context.Context, program string) (*releases, error) {
	archive, err := archiveOf(program)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /download/{version}/{file}", func(w http.ResponseWriter, r *http.Request) {
		switch name := "imagefactory_" + strings.TrimPrefix(r.PathValue("version"), "v") + "_linux_amd64.tar.gz"; r.PathValue("file") {
		case name:
			_, _ = w.Write(archive)
		case "checksums.txt":
			_, _ = fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(archive), name)
		default:
			http.NotFound(w, r)
		}
	})
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &releases{"http://" + l.Addr().String(), &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

func (s *releases) close() { _ = s.server.Close() }

// archiveOf returns the archive of a release. It starts the program where it is, which is large.
func archiveOf(program string) ([]byte, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", program)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	header := w.WriteHeader(&tar.Header{Name: "imagefactory", Mode: 0o755, Size: int64(len(script))})
	_, body := w.Write([]byte(script))
	err = errors.Join(header, body, w.Close(), z.Close())
	return out.Bytes(), err
}
