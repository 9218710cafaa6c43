package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlerr"
)

type yamlNode = yaml.Node

const mappingNode = yaml.MappingNode

// parse returns the root of the only document of a file, or nil for an empty file. On errors it also returns the line. Scalars
// keep their text, because the old tool wrote strings without quotes: a tag 1.10 is not the number 1.1.
func parse(data []byte) (root *yaml.Node, line int, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, 0, nil
	case err != nil:
		p := yamlerr.Explain(data, err)
		return nil, p.Line, errors.New(p.Message)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, max(second.Line, 1), errors.New("more than one document")
	}
	root = doc.Content[0]
	budget := 1<<16 + 4*len(data)
	if !bounded(root, map[*yaml.Node]bool{}, &budget) {
		return nil, 1, errors.New("aliases are recursive or expand to too many nodes")
	}
	if isNull(root) {
		return nil, 0, nil
	}
	return resolve(root), 0, nil
}

// bounded reports whether a tree with expanded aliases has at most budget nodes.
func bounded(n *yaml.Node, open map[*yaml.Node]bool, budget *int) bool {
	*budget--
	if *budget < 0 || open[n] {
		return false
	}
	if n.Kind == yaml.AliasNode {
		open[n] = true
		defer delete(open, n)
		return bounded(n.Alias, open, budget)
	}
	for _, c := range n.Content {
		if !bounded(c, open, budget) {
			return false
		}
	}
	return true
}

// resolve follows aliases. It terminates because bounded has rejected recursive ones.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = resolve(n)
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// pair is a key of a mapping and its value.
type pair struct{ key, value *yaml.Node }

// pairs returns the keys and values of a mapping with expanded merge keys. Of a duplicate key the last value counts, as in the
// old tool.
func pairs(n *yaml.Node) []pair {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var out, merged []pair
	at := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, mergedPairs(value)...)
			continue
		}
		if was, twice := at[key.Value]; twice && key.Kind == yaml.ScalarNode {
			out[was] = pair{key, value}
			continue
		}
		at[key.Value] = len(out)
		out = append(out, pair{key, value})
	}
	for _, p := range merged {
		if _, known := at[p.key.Value]; !known {
			at[p.key.Value] = len(out)
			out = append(out, p)
		}
	}
	return out
}

func mergedPairs(value *yaml.Node) []pair {
	value = resolve(value)
	if value.Kind != yaml.SequenceNode {
		return pairs(value)
	}
	var out []pair
	for _, c := range value.Content {
		out = append(out, pairs(c)...)
	}
	return out
}

// get returns the value of a key of a mapping, or nil if it is missing or null.
func get(n *yaml.Node, key string) *yaml.Node {
	for _, p := range pairs(n) {
		if p.key.Value == key && !isNull(p.value) {
			return resolve(p.value)
		}
	}
	return nil
}

// text returns the text of a scalar as written, or "" for any other node.
func text(n *yaml.Node) string {
	n = resolve(n)
	if isNull(n) || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// isEmpty reports whether a value is null, empty, or a list or mapping of empty values only.
func isEmpty(n *yaml.Node) bool {
	n = resolve(n)
	switch {
	case isNull(n):
		return true
	case n.Kind == yaml.ScalarNode:
		return n.Value == ""
	case n.Kind == yaml.MappingNode:
		for _, p := range pairs(n) {
			if !isEmpty(p.value) {
				return false
			}
		}
		return true
	}
	return len(n.Content) == 0
}

// clone returns a copy of a tree with expanded aliases and without anchors.
func clone(n *yaml.Node) *yaml.Node {
	out := *resolve(n)
	out.HeadComment, out.LineComment, out.FootComment = n.HeadComment, n.LineComment, n.FootComment
	out.Anchor, out.Alias, out.Content = "", nil, nil
	if out.Kind == yaml.MappingNode {
		for _, p := range pairs(n) {
			out.Content = append(out.Content, clone(p.key), clone(p.value))
		}
		return &out
	}
	for _, c := range resolve(n).Content {
		out.Content = append(out.Content, clone(c))
	}
	return &out
}

// equal reports whether two trees have the same meaning.
func equal(a, b *yaml.Node) bool {
	a, b = resolve(a), resolve(b)
	if a.Kind != b.Kind || a.Value != b.Value || a.ShortTag() != b.ShortTag() || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// plain returns a string node. The encoder quotes it if YAML would not read it as a string.
func plain(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

func mapping(list ...pair) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, p := range list {
		n.Content = append(n.Content, p.key, p.value)
	}
	return n
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "null"
	default:
		return strconv.Quote(n.Value)
	}
}

// encode returns a tree in block style. Some comments make the encoder change the meaning; then it leaves out all comments, and
// the caller adds them elsewhere.
func encode(n *yaml.Node) (out string, err error) {
	out, err = encodeOnce(n)
	if err == nil {
		if back, _, problem := parse([]byte(out)); problem == nil && back != nil && equal(back, n) {
			return out, nil
		}
	}
	return encodeOnce(bare(n))
}

func encodeOnce(n *yaml.Node) (out string, err error) {
	defer func() {
		if r := recover(); r != nil { // the encoder panics on some comments
			err = fmt.Errorf("encoding YAML: %v", r)
		}
	}()
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return "", fmt.Errorf("encoding YAML: %w", err)
	}
	return b.String(), enc.Close()
}

// bare returns a copy of a tree without comments.
func bare(n *yaml.Node) *yaml.Node {
	out := clone(n)
	strip(out)
	return out
}

func strip(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		strip(c)
	}
}
