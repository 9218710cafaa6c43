package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is who the image runs as, and who the Jobs in dist run as.
const user = 65532

const (
	binaryPath = "usr/bin/imagefactory"
	rootsPath  = "etc/ssl/certs/ca-certificates.crt"
	workPath   = "work"
)

// entry is a file, or a folder where the path ends in a slash.
type entry struct {
	path  string
	mode  int64
	owner int
	data  []byte
}

// system is everything in the image but the binary. It is the same for all platforms and changes with the certificates only.
func system() []entry {
	return []entry{
		{path: "etc/", mode: 0o755},
		{path: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{path: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")},
		{path: "etc/ssl/", mode: 0o755},
		{path: "etc/ssl/certs/", mode: 0o755},
		{path: rootsPath, mode: 0o644, data: roots()},
		{path: "tmp/", mode: 0o1777},
		{path: workPath + "/", mode: 0o755, owner: user},
	}
}

// program is the layer of the binary.
func program(binary []byte) []entry {
	return []entry{
		{path: "usr/", mode: 0o755},
		{path: "usr/bin/", mode: 0o755},
		{path: binaryPath, mode: 0o755, data: binary},
	}
}

// roots are the CAs that Mozilla trusts, as a file: unlike roots in the binary, those of a team can be put beside it. Roots
// that are trusted for older certificates only are left out, because a file cannot say so.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes everything
		}
	}
	return out.Bytes()
}

// newLayer packs entries in the order given, with no time and no names of users, so that the same entries are the same bytes.
func newLayer(entries []entry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Mode: e.mode, Uid: e.owner, Gid: e.owner, Size: int64(len(e.data)), Format: tar.FormatUSTAR}
		if strings.HasSuffix(e.path, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
}
