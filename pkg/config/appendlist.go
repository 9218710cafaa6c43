package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

// ListLimit is the largest size of a list of entries in bytes.
const ListLimit = maxImagesFileBytes

// Added is the result of [AppendList].
type Added struct {
	Text    []byte   // of the file with the entries
	Names   []string // of the entries that were added
	Present []string // names of the entries that the file already holds with the same values
}

// AppendList is [Append] for a list of entries, in YAML or JSON, or as discover prints them; source is its name in positions.
// An entry that the file already holds is skipped; one with the same name and other values is an error. If any entry is
// invalid, none is added, and the error is a [finding.List] with every problem.
func AppendList(text []byte, file string, list []byte, source string) (*Added, error) {
	old, err := Load(bytes.NewReader(text), file)
	if err != nil {
		return nil, err
	}
	entries, err := parseList(list, source)
	if err != nil {
		return nil, err
	}
	added := &Added{Text: text}
	var fresh []*yaml.Node
	d := newDecoder(source)
	for _, n := range entries {
		img := decodeEntry(old, n)
		have := old.Find(img.Name)
		if have == nil {
			fresh, added.Names = append(fresh, n), append(added.Names, img.Name)
			continue
		}
		differ := Differences(have, img)
		if len(differ) == 0 {
			added.Present = append(added.Present, img.Name)
			continue
		}
		keys := make([]string, len(differ))
		for i := range differ {
			keys[i] = differ[i].Key
		}
		d.add(finding.Duplicate, orNode(child(n, "name"), n), fmt.Sprintf("name %q is taken by the entry at %s:%d, which differs in %s", img.Name, file, have.Line, strings.Join(keys, ", ")),
			"edit that entry, or use another name")
	}
	if len(fresh) > 0 {
		added.Text, err = addEntries(text, file, source, fresh)
	}
	if more := (finding.List)(nil); errors.As(err, &more) {
		d.findings, err = append(d.findings, more...), nil
	}
	d.findings.Sort()
	if err == nil {
		err = d.findings.Err()
	}
	if err != nil {
		return nil, err
	}
	return added, nil
}

// parseList returns the entries of a list, without aliases.
func parseList(list []byte, source string) ([]*yaml.Node, error) {
	if len(list) > ListLimit {
		return nil, fmt.Errorf("reading %q: larger than %d MiB", source, ListLimit>>20)
	}
	d := newDecoder(source)
	root := d.parse(list)
	if root == nil {
		return nil, d.findings.Err()
	}
	placeEntries(root)
	yamlnode.Resolve(root)
	entries := root
	if root.Kind == yaml.MappingNode {
		entries = child(root, "images")
		if kind := child(root, "kind"); kind != nil {
			entries = proposals(child(root, "items"))
		} else if len(root.Content) > 2 {
			d.add(finding.BadValue, root, "want the key images alone: factory and defaults are not read here", "")
		}
	}
	if entries == nil || entries.Kind != yaml.SequenceNode {
		d.add(finding.BadValue, orNode(entries, root), "want a list of entries, or what discover prints", "")
	}
	for i := range entriesOf(entries) {
		if n := entries.Content[i]; n.Kind != yaml.MappingNode {
			d.add(finding.BadValue, n, fmt.Sprintf("entry %d: want a mapping, not %s", i+1, describe(n)), "")
		}
	}
	if err := d.findings.Err(); err != nil {
		return nil, err
	}
	return entries.Content, nil
}

func entriesOf(list *yaml.Node) []*yaml.Node {
	if list == nil {
		return nil
	}
	return list.Content
}

// proposals returns the entries in the items of an object that discover prints.
func proposals(items *yaml.Node) *yaml.Node {
	if items == nil || items.Kind != yaml.SequenceNode {
		return nil
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Line: items.Line, Column: items.Column}
	for _, item := range items.Content {
		if e := child(item, "entry"); e != nil {
			list.Content = append(list.Content, e)
		}
	}
	return list
}

// decodeEntry decodes an entry with the defaults of a configuration. Mistakes are reported by [addEntries].
func decodeEntry(c *Config, n *yaml.Node) *Image {
	with := &Config{Defaults: c.Defaults, Images: make([]Image, 1)}
	newDecoder("").decode(n, reflect.ValueOf(&with.Images[0]).Elem(), "")
	with.normalise()
	with.applyDefaults()
	return &with.Images[0]
}

// addNodes appends entries to the list of images of a document, and notes that they are not in the file.
func (d *decoder) addNodes(root *yaml.Node, source string, entries []*yaml.Node) {
	if len(entries) == 0 {
		return
	}
	images := root
	if root.Kind == yaml.MappingNode {
		images = child(root, "images")
	}
	if images.Kind == yaml.ScalarNode { // null
		images.Kind, images.Tag, images.Value = yaml.SequenceNode, "!!seq", ""
	}
	images.Content = append(images.Content, entries...)
	d.source, d.added = source, map[*yaml.Node]bool{}
	for _, n := range entries {
		d.note(n)
	}
}

func (d *decoder) note(n *yaml.Node) {
	if d.added[n] {
		return
	}
	d.added[n] = true
	for _, c := range n.Content {
		d.note(c)
	}
}

// entryText returns an entry as an item of a list in block style.
func entryText(n *yaml.Node) (string, error) {
	n = inBlockStyle(n, false)
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := enc.Encode(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}}); err != nil {
		return "", fmt.Errorf("writing entry: %w", err)
	}
	text := b.String()
	if strings.ContainsAny(text, "\r\u0085\u2028\u2029") {
		return "", errors.New("writing entry: it contains line ends other than LF; add it by hand")
	}
	return text, nil
}

// inBlockStyle returns a copy of a node without anchors. JSON and other flow style become block style.
func inBlockStyle(n *yaml.Node, flow bool) *yaml.Node {
	c := *n
	c.Anchor, c.Content = "", nil
	if top := n.Style&yaml.FlowStyle != 0; top || flow {
		flow = true
		c.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle
	}
	for _, item := range n.Content {
		c.Content = append(c.Content, inBlockStyle(item, flow))
	}
	return &c
}
