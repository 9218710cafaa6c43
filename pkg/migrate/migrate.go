// Package migrate converts images.yaml and the state files of the older cdk8s tool to those of imagefactory. Nothing is lost
// silently: everything that cannot be converted becomes a finding with position, reason and fix, and entries stay in the new
// images.yaml as comments. Only [Write] changes files, and it never deletes files of the old tool.
package migrate

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Plan is the result of a migration before it is written.
type Plan struct {
	Layout   Layout
	Files    map[string][]byte // files to write: images.yaml, and the state files below state/
	Findings finding.List      // everything that was not converted unchanged; an Error stands for an entry that is not enrolled

	Old     []Object // unneeded Kargo objects of the old tool, in the order in which to delete them
	Kept    []Object // objects whose names the new resources reuse
	Retired []string // files and folders of the old tool that may be deleted afterwards

	Images, Enrolled int // number of entries in the old and in the new images.yaml
	Bases            int // number of base images with converted state

	made string // time of the migration, used for facts without a time of their own
}

// migration builds a Plan.
type migration struct {
	fsys    fs.FS
	display string // prefix of the paths in findings
	now     time.Time
	Plan

	entries []*entry
	images  []*document // old state of images
	bases   []*document // old state of base images
	cfg     *config.Config
	st      *state.State
	notes   map[string]*note

	stateByName map[string]*document // of images, by old name
	entryByName map[string]*entry
}

// Read plans the migration of fsys; display is the prefix of paths in findings. It returns an error if fsys holds no files
// of the old tool, and a [finding.List] if images.yaml cannot be parsed.
func Read(fsys fs.FS, display string, now time.Time) (*Plan, error) {
	layout, err := detect(fsys)
	if err != nil {
		return nil, err
	}
	m := &migration{fsys: fsys, display: display, now: now, notes: map[string]*note{}, stateByName: map[string]*document{}, entryByName: map[string]*entry{}}
	m.Layout, m.made = layout, state.At(now).Format(time.RFC3339)
	if m.images, err = m.folder(layout.images); err != nil {
		return nil, err
	}
	for _, d := range m.images {
		if m.stateByName[d.name] == nil || path.Base(d.file) == d.name+".yaml" { // the file that the old tool read
			m.stateByName[d.name] = d
		}
	}
	if m.bases, err = m.folder(layout.bases); err != nil {
		return nil, err
	}
	text, list, err := m.imagesYAML()
	if err != nil {
		return nil, err
	}
	m.Images = len(list.Content)
	whole := *list // with all comments
	parts := cut(text, list)
	m.entries = m.readEntries(list)
	images, err := m.write(text, &whole, parts)
	if err != nil {
		return nil, err
	}
	m.Files = map[string][]byte{config.DefaultConfigFile: images}
	m.facts()
	m.objects()
	m.retired()
	m.flush()
	m.Findings.Sort()
	return &m.Plan, nil
}

// imagesYAML returns the text and the list of the old images.yaml.
func (m *migration) imagesYAML() (string, *yaml.Node, error) {
	const maxBytes = 64 << 20
	file := m.Layout.Config
	data, err := readFile(m.fsys, file, maxBytes)
	if err != nil {
		return "", nil, fmt.Errorf("reading %q: %w", m.shown(file), err)
	}
	root, line, err := parse(data)
	if err != nil {
		return "", nil, finding.List{finding.Syntax.At(m.shown(file), line, 1, "invalid YAML: "+err.Error(), "correct it first; nothing was migrated")}
	}
	switch {
	case root == nil:
		root = &yaml.Node{Kind: yaml.SequenceNode, Line: 1, Column: 1}
	case root.Kind == yaml.MappingNode && get(root, "images") != nil:
		return "", nil, finding.List{finding.BadValue.At(m.shown(file), root.Line, root.Column,
			"a mapping is already the new form; the old one is a list", "pass the folder of the old tool")}
	case root.Kind != yaml.SequenceNode:
		return "", nil, finding.List{finding.BadValue.At(m.shown(file), root.Line, root.Column, "want a list of images, not "+describe(root), "")}
	}
	return string(data), root, nil
}

func (m *migration) shown(file string) string { return path.Join(m.display, file) }

// warn reports something that was not converted unchanged.
func (m *migration) warn(file string, at *yaml.Node, message, fix string) {
	m.Findings = append(m.Findings, finding.Finding{
		Severity: finding.Warning, File: m.shown(file), Line: at.Line, Column: at.Column, Message: message, Fix: fix,
	})
}

// fail reports an entry that is not enrolled.
func (m *migration) fail(at *yaml.Node, message, fix string) {
	m.Findings = append(m.Findings, finding.Finding{
		Severity: finding.Error, File: m.shown(m.Layout.Config), Line: at.Line, Column: at.Column, Message: message, Fix: fix,
	})
}

// note is a finding that many files have in common; it is reported once.
type note struct {
	first   finding.Finding
	message string // of all of them
	places  []string
}

// group reports a finding that repeats only once, at its first position.
func (m *migration) group(key, file string, at *yaml.Node, message, fix string) {
	n := m.notes[key]
	if n == nil {
		n = &note{message: message, first: finding.Finding{
			Severity: finding.Warning, File: m.shown(file), Line: at.Line, Column: at.Column, Fix: fix,
		}}
		m.notes[key] = n
	}
	if place := fmt.Sprintf("%s:%d:%d", m.shown(file), at.Line, at.Column); !slices.Contains(n.places, place) {
		n.places = append(n.places, place)
	}
}

func (m *migration) flush() {
	for _, n := range m.notes {
		f := n.first
		f.Message = n.message
		switch more := len(n.places) - 1; more {
		case 0:
		case 1:
			f.Message += "; so at " + n.places[1]
		default:
			f.Message += fmt.Sprintf("; so in %d more places", more)
		}
		m.Findings = append(m.Findings, f)
	}
}

// retired returns the files that only the old tool needs.
func (m *migration) retired() {
	add := func(name string) {
		if _, err := fs.Lstat(m.fsys, name); err == nil && !slices.Contains(m.Retired, name) {
			m.Retired = append(m.Retired, name)
		}
	}
	for _, name := range append([]string{m.Layout.Config, m.Layout.images, m.Layout.bases}, m.Layout.dist...) {
		add(name)
	}
}
