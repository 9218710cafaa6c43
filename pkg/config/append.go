package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

// entry is an Image with what a person sets when enrolling one, in the order in which people write it.
type entry struct {
	Name         string       `json:"name"`
	Registry     string       `json:"registry,omitempty"`
	Repository   string       `json:"repository"`
	Source       *entrySource `json:"source,omitempty"`
	Tags         *entryTags   `json:"tags,omitempty"`
	RebuildDelay *Duration    `json:"rebuildDelay,omitempty"`
	AutoRebuild  *bool        `json:"autoRebuild,omitempty"`
}

type entrySource struct {
	Provider   Provider          `json:"provider,omitempty"`
	Host       string            `json:"host,omitempty"`
	Repo       string            `json:"repo,omitempty"`
	Branch     string            `json:"branch,omitempty"`
	Dockerfile string            `json:"dockerfile,omitempty"`
	Target     string            `json:"target,omitempty"`
	BuildArgs  map[string]string `json:"buildArgs,omitempty"`
	Platforms  []string          `json:"platforms,omitempty"`
	Workflow   string            `json:"workflow,omitempty"`
	Job        string            `json:"job,omitempty"`
	PinBases   *bool             `json:"pinBases,omitempty"`
}

type entryTags struct {
	Strategy   TagStrategy `json:"strategy"`
	Constraint string      `json:"constraint,omitempty"`
}

func entryOf(img *Image) entry {
	e := entry{Name: img.Name, Registry: img.Registry, Repository: img.Repository, RebuildDelay: img.RebuildDelay, AutoRebuild: img.AutoRebuild}
	if s := img.Source; s != nil {
		e.Source = &entrySource{
			Provider: s.Provider, Host: s.Host, Repo: s.Repo, Branch: s.Branch, Dockerfile: s.Dockerfile, Target: s.Target,
			BuildArgs: s.BuildArgs, Platforms: s.Platforms, Workflow: s.Workflow, Job: s.Job, PinBases: s.PinBases,
		}
	}
	if img.Tags != nil {
		e.Tags = &entryTags{img.Tags.Strategy, img.Tags.Constraint}
	}
	return e
}

// Append adds an entry to the text of an images.yaml and keeps every byte of the rest: comments, order, layout. The
// result is validated as a whole; when anything is wrong with it the error is a finding.List, whose positions are those
// of the text as it would be.
func Append(text []byte, file string, img *Image) ([]byte, error) {
	before, err := Load(bytes.NewReader(text), file)
	if err != nil {
		return nil, err
	}
	out, err := insert(text, file, img)
	if err != nil {
		return nil, err
	}
	after, err := Load(bytes.NewReader(out), file)
	if err != nil {
		return nil, err
	}
	if n := len(before.Images); len(after.Images) != n+1 || !reflect.DeepEqual(withoutPlaces(before.Images), withoutPlaces(after.Images[:n])) {
		return nil, fmt.Errorf("adding %q to %q: the layout of the file does not allow it; add the entry by hand", img.Name, file)
	}
	return out, nil
}

func withoutPlaces(images []Image) []Image {
	out := make([]Image, len(images))
	for i, img := range images {
		img.Line, img.Column = 0, 0
		out[i] = img
	}
	return out
}

func insert(text []byte, file string, img *Image) ([]byte, error) {
	d := newDecoder(file)
	root := d.parse(text)
	if root == nil {
		return nil, d.findings.Err()
	}
	newline := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		newline = "\r\n"
	}
	body, err := yamlenc.Marshal([]entry{entryOf(img)})
	if err != nil {
		return nil, fmt.Errorf("writing entry %q: %w", img.Name, err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	list := root
	if root.Kind == yaml.MappingNode {
		list = child(root, "images")
	}
	for list.Kind == yaml.AliasNode {
		return nil, errors.New("adding an entry: the list of images is an alias; add the entry by hand")
	}
	at, indent := len(lines), 0
	switch {
	case len(list.Content) > 0 && list.Style&yaml.FlowStyle != 0:
		d.add(finding.Syntax, list, "the list of images is in flow style, [ ]", "write one entry per line, each beginning with a dash")
		return nil, d.findings.Err()
	case len(list.Content) > 0:
		first := list.Content[0]
		dash := strings.LastIndex(lines[first.Line-1][:first.Column-1], "-")
		at, indent = lastLine(list), max(dash, 0)
	case root.Kind == yaml.MappingNode:
		// `images: []` or `images:`: the entry goes below the key.
		key := keyNode(root, "images")
		line := lines[key.Line-1]
		head, rest, _ := strings.Cut(line, ":")
		lines[key.Line-1] = head + ":" + strings.Replace(strings.Replace(rest, " []", "", 1), " null", "", 1)
		at, indent = key.Line, key.Column+1
	case list.Style&yaml.FlowStyle != 0: // the whole file is []
		at = list.Line
		lines[at-1] = strings.Replace(lines[at-1], "[]", "", 1)
	}
	// A block scalar or comment at the end of the last entry may reach further than its nodes say.
	for at < len(lines) && belongsToEntry(lines[at], indent) {
		at++
	}
	var b strings.Builder
	for _, l := range lines[:at] {
		b.WriteString(l)
	}
	if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteString(newline)
	}
	for line := range strings.Lines(string(body)) {
		b.WriteString(strings.Repeat(" ", indent) + strings.TrimRight(line, "\n") + newline)
	}
	for _, l := range lines[at:] {
		b.WriteString(l)
	}
	return []byte(b.String()), nil
}

func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// belongsToEntry says whether a line is indented deeper than the dash of an entry: what it holds is part of the entry.
func belongsToEntry(line string, dash int) bool {
	trimmed := strings.TrimLeft(line, " ")
	return strings.TrimSpace(trimmed) != "" && len(line)-len(trimmed) > dash
}
