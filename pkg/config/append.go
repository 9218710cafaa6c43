package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

// Entry holds the keys of an [Image] that enroll and discover can set, in the usual order.
type Entry struct {
	Name         string            `json:"name"`
	Registry     string            `json:"registry,omitempty"`
	Repository   string            `json:"repository"`
	Source       *EntrySource      `json:"source,omitempty"`
	Tags         any               `json:"tags,omitempty"` // a plain tag, or entryTags
	RebuildDelay *Duration         `json:"rebuildDelay,omitempty"`
	AutoRebuild  *bool             `json:"autoRebuild,omitempty"`
	Owner        string            `json:"owner,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// EntrySource is the source of an [Entry].
type EntrySource struct {
	Provider   Provider          `json:"provider,omitempty"`
	Host       string            `json:"host,omitempty"`
	Repo       string            `json:"repo,omitempty"`
	Branch     string            `json:"branch,omitempty"`
	Bake       *EntryBake        `json:"bake,omitempty"`
	Compose    *EntryCompose     `json:"compose,omitempty"`
	Dockerfile string            `json:"dockerfile,omitempty"`
	Target     string            `json:"target,omitempty"`
	BuildArgs  map[string]string `json:"buildArgs,omitempty"`
	Contexts   map[string]string `json:"buildContexts,omitempty"`
	Platforms  []string          `json:"platforms,omitempty"`
	Workflow   string            `json:"workflow,omitempty"`
	Job        string            `json:"job,omitempty"`
	PinBases   *bool             `json:"pinBases,omitempty"`
	UpdatePins UpdatePins        `json:"updatePins,omitempty"`
}

// EntryBake is a [BakeTarget] of an [Entry].
type EntryBake struct {
	File    string `json:"file,omitempty"`
	Target  string `json:"target,omitempty"`
	Workdir string `json:"workdir,omitempty"`
}

// EntryCompose is a [ComposeService] of an [Entry].
type EntryCompose struct {
	File    string `json:"file,omitempty"`
	Service string `json:"service"`
}

type entryTags struct {
	Strategy   TagStrategy `json:"strategy"`
	Constraint string      `json:"constraint,omitempty"`
}

// EntryOf returns the entry that is written for an image.
func EntryOf(img *Image) Entry {
	e := Entry{
		Name: img.Name, Registry: img.Registry, Repository: img.Repository, RebuildDelay: img.RebuildDelay, AutoRebuild: img.AutoRebuild,
		Owner: img.Owner, Labels: img.Labels,
	}
	if s := img.Source; s != nil {
		e.Source = &EntrySource{
			Provider: s.Provider, Host: s.Host, Repo: s.Repo, Branch: s.Branch, Bake: (*EntryBake)(s.Bake), Compose: (*EntryCompose)(s.Compose), Dockerfile: s.Dockerfile, Target: s.Target,
			BuildArgs: s.BuildArgs, Contexts: s.BuildContexts, Platforms: s.Platforms, Workflow: s.Workflow, Job: s.Job, PinBases: s.PinBases, UpdatePins: s.UpdatePins,
		}
	}
	switch t := img.Tags; {
	case t == nil:
	case t.Strategy == Digest:
		e.Tags = t.Constraint
	default:
		e.Tags = entryTags{t.Strategy, t.Constraint}
	}
	return e
}

// Append adds an entry to the text of an images.yaml and keeps every other byte: comments, order, layout. It validates the
// whole text before and after. The error for an invalid entry is a [finding.List].
func Append(text []byte, file string, img *Image) ([]byte, error) {
	if _, err := Load(bytes.NewReader(text), file); err != nil {
		return nil, err
	}
	body, err := yamlenc.Marshal([]Entry{EntryOf(img)})
	if err != nil {
		return nil, fmt.Errorf("writing entry %q: %w", img.Name, err)
	}
	list := newDecoder(file).parse(body)
	if list == nil {
		return nil, fmt.Errorf("writing entry %q: invalid value", img.Name)
	}
	return addEntries(text, file, "", list.Content)
}

// addEntries adds entries to a text, which must be valid. In findings, source is the file of the entries; "" stands for entries
// without positions.
func addEntries(text []byte, file, source string, entries []*yaml.Node) ([]byte, error) {
	d := newDecoder(file)
	want, _ := d.loadWith(text, source, entries) // without defaults
	d.findings.Sort()
	if err := d.findings.Err(); err != nil {
		return nil, err
	}
	names := fmt.Sprintf("%q", want.Images[len(want.Images)-len(entries)].Name)
	if len(entries) > 1 {
		names = plural.Form(len(entries), "entry", "entries")
	}
	in, err := newInsertion(string(text), file, names, entries)
	if err != nil {
		return nil, err
	}
	for _, at := range in.places() {
		out := in.at(at)
		if got, ok := newDecoder(file).load(out); ok && reflect.DeepEqual(withoutPlaces(got.Images), withoutPlaces(want.Images)) {
			return out, nil
		} // else this line is inside another value
	}
	return nil, fmt.Errorf("adding %s to %q: the layout of the file does not allow it; add the text by hand", names, file)
}

func withoutPlaces(images []Image) []Image {
	out := make([]Image, len(images))
	for i, img := range images {
		img.Line, img.Column = 0, 0
		out[i] = img
	}
	return out
}

// insertion adds an entry to the lines of a text.
type insertion struct {
	lines   []string // with their line ends
	after   int      // earliest line after which the entry may go
	indent  int      // column of the dash
	spaced  bool     // blank lines separate the entries
	newline string
	bodies  []string // one for each entry
}

func newInsertion(text, file, names string, entries []*yaml.Node) (*insertion, error) {
	d := newDecoder(file)
	root := d.parse([]byte(text))
	if root == nil {
		return nil, d.findings.Err()
	}
	if strings.ContainsAny(strings.ReplaceAll(text, "\r\n", "\n"), "\r\u0085\u2028\u2029") {
		return nil, fmt.Errorf("adding %s to %q: the file contains line ends other than LF and CRLF; add the text by hand", names, file)
	}
	in := &insertion{lines: strings.SplitAfter(text, "\n"), newline: "\n"}
	for _, n := range entries {
		body, err := entryText(n)
		if err != nil {
			return nil, err
		}
		in.bodies = append(in.bodies, body)
	}
	if strings.Contains(text, "\r\n") {
		in.newline = "\r\n"
	}
	list := root
	if root.Kind == yaml.MappingNode {
		list = child(root, "images")
	}
	switch {
	case list.Kind == yaml.AliasNode:
		return nil, fmt.Errorf("adding %s to %q: the list of images is an alias; add the text by hand", names, file)
	case len(list.Content) > 0 && list.Style&yaml.FlowStyle != 0:
		d.add(finding.Syntax, list, "the list of images is in flow style, [ ]", "write each entry on lines of its own, beginning with a dash")
		return nil, d.findings.Err()
	case len(list.Content) > 0:
		in.after, in.indent = lastLine(list), list.Column-1
		if n := len(list.Content); n > 1 {
			in.spaced = strings.TrimSpace(in.line(list.Content[n-1].Line-2)) == ""
		}
	default:
		in.removeEmpty(list)
		in.after = len(in.lines)
		if key := keyNode(root, "images"); key != nil {
			in.after, in.indent = key.Line, key.Column+1
		} else if list.Style&yaml.FlowStyle != 0 {
			in.after = list.Line
		}
	}
	return in, nil
}

func (in *insertion) line(i int) string {
	if i < 0 || i >= len(in.lines) {
		return "x"
	}
	return in.lines[i]
}

// removeEmpty deletes the text of an empty list: [], ~ or null.
func (in *insertion) removeEmpty(list *yaml.Node) {
	i := list.Line - 1
	if i < 0 || i >= len(in.lines) {
		return
	}
	line := []rune(in.lines[i])
	start := min(list.Column-1, len(line))
	rest := string(line[start:])
	switch {
	case list.Style&yaml.FlowStyle != 0:
		for !strings.Contains(rest, "]") && i+1 < len(in.lines) { // it ends on a later line
			rest += in.lines[i+1]
			in.lines = slices.Delete(in.lines, i+1, i+2)
		}
		_, rest, _ = strings.Cut(rest, "]")
	case list.Value != "" && strings.HasPrefix(rest, list.Value):
		rest = rest[len(list.Value):]
	default:
		return
	}
	in.lines[i] = strings.TrimRight(string(line[:start]), " ") + rest
}

// places returns the line numbers after which the entry may go, the most likely first. Lines alone do not show where the last
// entry ends, because a multi-line string can contain anything.
func (in *insertion) places() []int {
	const tries = 100
	first := min(in.after, len(in.lines))
	for i := first; i < len(in.lines); i++ {
		line := strings.TrimLeft(in.lines[i], " ")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if len(in.lines[i])-len(line) <= in.indent {
			break
		}
		first = i + 1 // indented deeper than the dash: part of the entry
	}
	var out []int
	for i := first; i <= len(in.lines) && len(out) < tries; i++ {
		out = append(out, i)
	}
	return out
}

// at returns the text with the entry inserted after line n.
func (in *insertion) at(n int) []byte {
	var b strings.Builder
	for _, l := range in.lines[:n] {
		b.WriteString(l)
	}
	if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteString(in.newline)
	}
	for _, body := range in.bodies {
		if in.spaced {
			b.WriteString(in.newline)
		}
		for line := range strings.Lines(body) {
			if line = strings.TrimRight(line, "\n"); line != "" {
				line = strings.Repeat(" ", in.indent) + line
			}
			b.WriteString(line + in.newline)
		}
	}
	for _, l := range in.lines[n:] {
		b.WriteString(l)
	}
	return []byte(b.String())
}

func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}
