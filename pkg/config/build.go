package config

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// Names of the files that describe builds, where images.yaml names none.
const (
	DefaultBakeFile    = "docker-bake.hcl"
	defaultBakeTarget  = "default"
	DefaultComposeFile = "compose.yaml"
)

// BakeTarget is a target of a Docker Bake file, which says how an image is built.
type BakeTarget struct {
	File    string `yaml:"file" jsonschema_description:"Path of the bake file in the repository, in HCL or JSON. Default docker-bake.hcl."`
	Target  string `yaml:"target" jsonschema_description:"Target, or a group with one target. Default: default."`
	Workdir string `yaml:"workdir" jsonschema_description:"Folder in the repository in which bake runs; contexts are relative to it. Default: the root."`
}

// ComposeService is a service of a Compose file, whose build says how an image is built.
type ComposeService struct {
	File    string `yaml:"file" jsonschema_description:"Path of the Compose file in the repository; contexts are relative to its folder. Default compose.yaml."`
	Service string `yaml:"service" jsonschema:"required" jsonschema_description:"Service that is built."`
}

// Build is how a bake or Compose file says that an image is built.
type Build struct {
	Dockerfile, Target       string
	BuildArgs, BuildContexts map[string]string
	Platforms                []string
}

// BuildFile returns the path of the bake or Compose file, and the target or service in it. The path is empty if images.yaml itself
// says how the image is built.
func (s *Source) BuildFile() (file, target string) {
	switch {
	case s.Bake != nil:
		return s.Bake.File, s.Bake.Target
	case s.Compose != nil:
		return s.Compose.File, s.Compose.Service
	}
	return "", ""
}

// BuildKey returns the key of images.yaml that names the bake or Compose file.
func (s *Source) BuildKey() string {
	if s.Bake != nil {
		return "source.bake"
	}
	return "source.compose"
}

// SetBuild sets what the bake or Compose file says: nil if that is not known. What images.yaml itself says about arguments and
// platforms takes precedence.
func (s *Source) SetBuild(b *Build) {
	if s.written == nil {
		written := *s
		s.written = &written
	}
	w := s.written
	s.Dockerfile, s.Target, s.BuildArgs, s.BuildContexts, s.Platforms, s.PinFiles = "", "", w.BuildArgs, nil, w.Platforms, w.PinFiles
	if b == nil {
		return
	}
	s.Dockerfile, s.Target, s.BuildContexts = b.Dockerfile, b.Target, b.BuildContexts
	s.BuildArgs = merged(b.BuildArgs, w.BuildArgs)
	if !w.ownPlatforms && len(b.Platforms) > 0 {
		s.Platforms = b.Platforms
	}
	if file, _ := s.BuildFile(); s.MovesPins() && !slices.Contains(w.PinFiles, file) {
		s.PinFiles = append(slices.Clone(w.PinFiles), file)
	}
}

// Written returns the source as images.yaml has it, with defaults, without what a bake or Compose file says.
func (s *Source) Written() *Source {
	if s.written != nil {
		return s.written
	}
	return s
}

// OwnPlatforms reports whether the entry itself sets the platforms.
func (s *Source) OwnPlatforms() bool { return s.Written().ownPlatforms }

// HoldsSecret reports whether a value has the form of a token.
func HoldsSecret(value string) bool { return holdsSecret("", value) }

func (s *Source) applyBuildDefaults() {
	if s.Bake != nil {
		b := *s.Bake
		setDefault(&b.File, DefaultBakeFile)
		setDefault(&b.Target, defaultBakeTarget)
		b.File = path.Clean(b.File)
		s.Bake = &b
	}
	if s.Compose != nil {
		c := *s.Compose
		setDefault(&c.File, DefaultComposeFile)
		c.File = path.Clean(c.File)
		s.Compose = &c
	}
}

// replacedKeys are the keys of a source that a bake or Compose file replaces.
var replacedKeys = []string{"dockerfile", "target", "buildContexts"}

func (v *validator) build(n *yaml.Node, at string, s *Source) {
	if s.Bake == nil && s.Compose == nil {
		return
	}
	if s.Bake != nil && s.Compose != nil {
		v.add(finding.BadValue, keyNode(n, "compose"), at+": bake and compose are both set", "keep the one that describes the build")
		return
	}
	key, kind, extensions := "bake", "bake", []string{".hcl", ".json"}
	if s.Compose != nil {
		key, kind, extensions = "compose", "Compose", []string{".yaml", ".yml"}
	}
	for _, replaced := range replacedKeys {
		if k := keyNode(n, replaced); k != nil {
			v.add(finding.BadValue, k, fmt.Sprintf("%s.%s: the %s file says it", at, replaced, kind), fmt.Sprintf("remove it, or remove %s", key))
		}
	}
	file, _ := s.BuildFile()
	m := child(n, key)
	v.file(child(m, "file"), at+"."+key+".file", file)
	if ext := path.Ext(file); file != "" && !slices.Contains(extensions, ext) {
		v.add(finding.BadValue, child(m, "file"), fmt.Sprintf("%s.%s.file: %q is not a %s file", at, key, file, kind), "want a name that ends in "+strings.Join(extensions, " or "))
	}
	if s.Compose != nil && s.Compose.Service == "" {
		v.missing(m, "service", at+".compose: service is missing")
	}
	if s.Bake != nil {
		v.relative(child(m, "workdir"), at+".bake.workdir", s.Bake.Workdir)
	}
}
