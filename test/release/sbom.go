package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

const sbomType = "application/vnd.cyclonedx+json"

// rootsModule is where the certificates in the image are from.
const rootsModule = "golang.org/x/crypto/x509roots/fallback"

// imageSBOM is that of an image: its binary and its certificates.
func imageSBOM(binary []byte, src *source) ([]byte, error) {
	own, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, fmt.Errorf("this program was built without module information")
	}
	i := slices.IndexFunc(own.Deps, func(m *debug.Module) bool { return m.Path == rootsModule })
	if i < 0 {
		return nil, fmt.Errorf("module information of this program lacks %s", rootsModule)
	}
	certificates := library(own.Deps[i])
	certificates.Type = cdx.ComponentTypeData
	return newSBOM(binary, src, certificates)
}

// newSBOM lists what Go's linker recorded in a binary: its modules and Go itself. Nothing in it depends on when or where it is made.
func newSBOM(binary []byte, src *source, more ...cdx.Component) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("reading module information: %w", err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	sum := sha256.Sum256(binary)
	app := cdx.Component{
		Type: cdx.ComponentTypeApplication, Name: info.Main.Path, Version: src.version,
		PackageURL: purl(info.Main.Path, src.version) + "?goarch=" + settings["GOARCH"] + "&goos=" + settings["GOOS"],
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		ExternalReferences: &[]cdx.ExternalReference{
			{Type: cdx.ERTypeVCS, URL: sourceURL, Comment: "commit " + src.commit},
		},
	}
	app.BOMRef = app.PackageURL
	std := library(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")})
	components := append([]cdx.Component{std}, more...)
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		components = append(components, library(m))
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	refs := make([]string, len(components))
	for i, c := range components {
		refs[i] = c.BOMRef
	}
	bom := cdx.NewBOM()
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, append([]byte(app.PackageURL+"#"), sum[:]...)).URN()
	bom.Metadata = &cdx.Metadata{Timestamp: src.committed.Format(time.RFC3339), Component: &app}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: app.BOMRef, Dependencies: &refs}} // the record has no edges between modules
	var out bytes.Buffer
	err = cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
	return out.Bytes(), err
}

func library(m *debug.Module) cdx.Component {
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl(m.Path, m.Version)}
	c.BOMRef = c.PackageURL
	// The sum of go.sum: a SHA-256 over the names and sums of the module's files.
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) == sha256.Size {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	}
	return c
}

// purl is the package URL of a module, where a plus sign has to be escaped.
func purl(module, version string) string {
	return "pkg:golang/" + module + "@" + strings.ReplaceAll(version, "+", "%2B")
}
