package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlerr"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

// LoadFile reads and validates an images.yaml. The error for an invalid file is a [finding.List] with every problem.
func LoadFile(file string) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading %q: %w (run `imagefactory init` to write a first one, or pass --config)", file, fs.ErrNotExist)
		}
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	defer f.Close()
	cfg, err := Load(f, file)
	if err == nil {
		cfg.SetFolder(os.DirFS(filepath.Dir(file)))
	}
	return cfg, err
}

// Load reads and validates an images.yaml; file is its name in positions. The result has every default filled in. The
// error for an invalid file is a [finding.List] with every problem, and the Config is nil.
func Load(r io.Reader, file string) (*Config, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxImagesFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", file, err)
	}
	if len(raw) > maxImagesFileBytes {
		return nil, fmt.Errorf("reading %q: larger than %d MiB", file, maxImagesFileBytes>>20)
	}
	d := newDecoder(file)
	cfg, ok := d.load(raw)
	if !ok || len(d.findings) > 0 {
		d.findings.Sort()
		return nil, d.findings.Err()
	}
	cfg.normalise()
	cfg.applyDefaults()
	cfg.setWindows()
	cfg.index = make(map[string]int, len(cfg.Images))
	for i := range cfg.Images {
		cfg.index[cfg.Images[i].Name] = i
	}
	return cfg, nil
}

// load decodes and validates a text, without defaults. ok is false if the text is not valid YAML.
func (d *decoder) load(raw []byte) (cfg *Config, ok bool) {
	return d.loadWith(raw, "", nil)
}

// loadWith is load for a text with more entries, which are in the file source.
func (d *decoder) loadWith(raw []byte, source string, entries []*yaml.Node) (cfg *Config, ok bool) {
	cfg = &Config{file: d.file}
	root := d.parse(raw)
	if root == nil {
		return cfg, false
	}
	placeEntries(root)
	yamlnode.Resolve(root)
	d.addNodes(root, source, entries)
	v := validator{decoder: d, cfg: cfg, root: root, images: d.decodeRoot(root, cfg), owners: map[string]string{}}
	v.run()
	return cfg, true
}

// decodeRoot decodes both layouts and returns the node of the list of images.
func (d *decoder) decodeRoot(root *yaml.Node, cfg *Config) *yaml.Node {
	switch root.Kind {
	case yaml.SequenceNode:
		d.decode(root, reflect.ValueOf(&cfg.Images).Elem(), "images")
		return root
	case yaml.MappingNode:
		d.decode(root, reflect.ValueOf(cfg).Elem(), "")
		images := child(root, "images")
		if images == nil {
			d.add(finding.Missing, root, `key "images" is missing`, "add the list of images, or `images: []` if there are none yet")
		}
		return images
	default:
		d.add(finding.BadValue, root, "want a list of images, or a mapping with factory, defaults and images, not "+describe(root), "")
		return nil
	}
}

// parse returns the root node of the only document of the file. An empty file is an empty list.
func (d *decoder) parse(raw []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return &yaml.Node{Kind: yaml.SequenceNode, Line: 1, Column: 1}
	case err != nil:
		p := yamlerr.Explain(raw, err)
		if p.Conflict {
			p.Fix = "keep the entries of both sides, and remove the lines with <<<<<<<, ======= and >>>>>>>"
		} else {
			p.Message = "invalid YAML: " + p.Message
		}
		d.findings = append(d.findings, finding.Syntax.At(d.file, p.Line, p.Column, p.Message, p.Fix))
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		d.findings = append(d.findings, finding.Syntax.At(d.file, secondDocument(raw, &doc), 1, "more than one YAML document", "keep all images in one list"))
		return nil
	}
	root := doc.Content[0]
	if root.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.SequenceNode, Line: 1, Column: 1}
	}
	budget := maxDocumentAliasedSize + 16*len(raw)
	if alias := yamlnode.Unbounded(root, budget); alias != nil {
		d.add(finding.Syntax, alias, "aliases expand too far or contain themselves", "write the entries out, or use `defaults`")
		return nil
	}
	return root
}

// secondDocument returns the line on which the second document of a text begins.
func secondDocument(raw []byte, first *yaml.Node) int {
	for i, line := range strings.Split(string(raw), "\n") {
		if i+1 > lastLine(first) && (strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")) {
			return i + 1
		}
	}
	return 1
}

// placeEntries replaces entries and names that are aliases by copies with the position of the alias, because that is where the
// entry appears in the list.
func placeEntries(root *yaml.Node) {
	images := target(root)
	if images.Kind == yaml.MappingNode {
		images = target(child(images, "images"))
	}
	if images == nil || images.Kind != yaml.SequenceNode {
		return
	}
	for i, entry := range images.Content {
		images.Content[i] = placed(entry)
		fields := images.Content[i]
		for k := 0; fields.Kind == yaml.MappingNode && k+1 < len(fields.Content); k += 2 {
			if target(fields.Content[k]).Value == "name" {
				fields.Content[k+1] = placed(fields.Content[k+1])
			}
		}
	}
}

func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// placed returns a copy of an alias's target with the position of the alias. Other nodes are returned as they are.
func placed(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.AliasNode {
		return n
	}
	value := *n.Alias
	value.Line, value.Column = n.Line, n.Column
	return &value
}

// child returns the value node of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// applyDefaults fills in the keys that entries leave out. No other code knows the defaults.
func (c *Config) applyDefaults() {
	f := &c.Factory
	setDefault(&f.Project, DefaultProject)
	setDefault(&f.State.Branch, DefaultBranch)
	setDefault(&f.Config.Ref, f.State.Branch)
	setDefault(&f.AnalysisImage, defaultAnalysisImage)
	setDefault(&f.Schedule, defaultSchedule)
	f.Poll.BaseImages = orDefault(f.Poll.BaseImages, defaultBaseInterval)
	f.Poll.Images = orDefault(f.Poll.Images, defaultImageInterval)
	f.MaxConcurrent = orDefault(f.MaxConcurrent, defaultMaxConcurrent)
	f.PullRequests.applyDefaults()
	f.Jobs.applyDefaults()
	f.Scan.applyDefaults()
	f.Notify.applyDefaults(&c.Defaults.Source)
	d := &c.Defaults
	for i := range c.Images {
		img := &c.Images[i]
		img.RebuildDelay = orDefault(img.RebuildDelay, *orDefault(d.RebuildDelay, defaultDelay))
		if img.MaxRebuildDelay == nil {
			longest := max(*img.RebuildDelay, *orDefault(d.MaxRebuildDelay, maxDelayFactor**img.RebuildDelay))
			img.MaxRebuildDelay = &longest
		}
		img.RebuildInterval = orDefault(img.RebuildInterval, *orDefault(d.RebuildInterval, defaultInterval))
		img.AutoRebuild = orDefault(img.AutoRebuild, *orDefault(d.AutoRebuild, true))
		img.Urgent = img.Urgent.withDefaults(d.Urgent)
		setDefault(&img.Owner, d.Owner)
		img.Labels = withDefaults(img.Labels, d.Labels)
		setDefault(&img.Registry, c.defaultRegistry(img.Managed()))
		img.Registry, img.Repository = hostname.Repository(img.Registry, img.Repository)
		if !img.Managed() {
			continue
		}
		img.Source.applyDefaults(&d.Source)
		setDefault(&img.RebuildPolicy, d.RebuildPolicy)
		if img.RebuildPolicy == "" {
			img.RebuildPolicy = Settle
			if img.Source.PinsBases() {
				img.RebuildPolicy = Mature
			}
		}
	}
}

// normalise brings hosts and platforms into one spelling, so that the rest of the program can compare them as strings.
func (c *Config) normalise() {
	f, d := &c.Factory, &c.Defaults
	f.State.URL = hostname.URL(f.State.URL)
	f.Credentials = byHost(f.Credentials)
	f.Mirrors = byHost(f.Mirrors)
	for _, mirrors := range f.Mirrors {
		for i, m := range mirrors {
			host, path, _ := strings.Cut(strings.TrimRight(m, "/"), "/")
			mirrors[i] = strings.TrimSuffix(hostname.Normalize(host)+"/"+path, "/")
		}
	}
	d.Registry = hostname.Normalize(d.Registry)
	d.Source.Host = hostname.Normalize(d.Source.Host)
	d.Source.Repo = hostname.URL(d.Source.Repo)
	d.Source.Platforms = normalPlatforms(d.Source.Platforms)
	for i := range c.Images {
		img := &c.Images[i]
		img.Registry = hostname.Normalize(img.Registry)
		if s := img.Source; s != nil {
			s.Host, s.Repo, s.Platforms = hostname.Normalize(s.Host), hostname.URL(s.Repo), normalPlatforms(s.Platforms)
			if s.Dockerfile != "" {
				s.Dockerfile = path.Clean(s.Dockerfile)
			}
		}
	}
}

// byHost normalises the keys of a mapping. Validation has rejected two keys that are the same host.
func byHost[T any](m map[string]T) map[string]T {
	if m == nil {
		return nil
	}
	out := make(map[string]T, len(m))
	for host, v := range m {
		out[hostname.Normalize(host)] = v
	}
	return out
}

// normalPlatforms returns the platforms as registries spell them (linux/arm64 for linux/aarch64), without duplicates.
func normalPlatforms(list []string) []string {
	var out []string
	for _, text := range list {
		if p, err := platforms.Parse(text); err == nil {
			text = platforms.FormatAll(platforms.Normalize(p))
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// defaultRegistry returns the registry of an entry that names none.
func (c *Config) defaultRegistry(managed bool) string {
	if !managed {
		return DefaultExternalReg
	}
	return cmp.Or(c.Defaults.Registry, DefaultRegistry)
}

func (s *Source) applyDefaults(d *SourceDefault) {
	setDefault(&s.Provider, d.Provider)
	if s.Provider == d.Provider { // the default host belongs to the default provider
		setDefault(&s.Host, d.Host)
	}
	setDefault(&s.Host, HomeHost(s.Provider))
	if s.Provider.WorkflowFolders() != nil {
		setDefault(&s.Workflow, d.Workflow)
	}
	setDefault(&s.Repo, d.Repo)
	setDefault(&s.Branch, d.Branch)
	setDefault(&s.Branch, DefaultBranch)
	if s.WorkflowRepo != "" { // the branch of one repository says nothing about another
		setDefault(&s.WorkflowBranch, DefaultBranch)
	}
	if s.ownPlatforms = len(s.Platforms) > 0; s.Bake == nil && s.Compose == nil {
		setDefault(&s.Dockerfile, "Dockerfile")
	}
	s.applyBuildDefaults()
	if s.Webhook != nil {
		setDefault(&s.Webhook.Method, http.MethodPost)
	}
	if len(s.Platforms) == 0 {
		s.Platforms = d.Platforms
	}
	if len(s.Platforms) == 0 {
		s.Platforms = []string{defaultPlatform}
	}
	if s.PinBases == nil {
		s.PinBases = d.PinBases
	}
	if slices.Contains(s.Provider.traits().keys, "updatePins") {
		setDefault(&s.UpdatePins, d.UpdatePins)
	}
}

// withDefaults returns the labels of an entry plus the default labels whose keys it does not set.
func withDefaults(labels, defaults map[string]string) map[string]string {
	if len(labels) == 0 {
		return defaults
	}
	for key, value := range defaults {
		if _, ok := labels[key]; !ok {
			labels[key] = value
		}
	}
	return labels
}

func setDefault[T ~string](v *T, def T) {
	if *v == "" {
		*v = def
	}
}

func orDefault[T any](v *T, def T) *T {
	if v != nil {
		return v
	}
	return &def
}
