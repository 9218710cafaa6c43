package yamlnode

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlerr"
)

const maxAliased = 50_000 // nodes of a document with its aliases

// Parse returns the root of the last document of a text, with its aliases resolved: in GitLab's files, a document with a
// header may come first.
func Parse(text []byte) (*yaml.Node, int, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root *yaml.Node
	for range 10 {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p := yamlerr.Explain(text, err)
			return nil, p.Line, errors.New("invalid YAML: " + p.Message)
		}
		if len(doc.Content) > 0 {
			root = doc.Content[0]
		}
	}
	if root == nil {
		return &yaml.Node{Kind: yaml.MappingNode}, 0, nil
	}
	if n := Unbounded(root, maxAliased+16*len(text)); n != nil {
		return nil, n.Line, errors.New("aliases expand too far or contain themselves")
	}
	Resolve(root)
	return root, 0, nil
}

// Documents returns how many documents of a text are not empty, of the first ten.
func Documents(text []byte) int {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	documents := 0
	for range 10 {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			break
		}
		if len(doc.Content) > 0 && doc.Content[0].Tag != "!!null" {
			documents++
		}
	}
	return documents
}

// Get returns the value of a key of a mapping, also of one that it merges; nil if there is none.
func Get(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var merged *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case key:
			return n.Content[i+1]
		case "<<":
			merged = n.Content[i+1]
		}
	}
	if merged != nil && merged.Kind == yaml.SequenceNode {
		for _, m := range merged.Content {
			if v := Get(m, key); v != nil {
				return v
			}
		}
		return nil
	}
	return Get(merged, key)
}

// At returns the value at a path of keys.
func At(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = Get(n, key)
	}
	return n
}

// Pair is a key of a mapping and its value.
type Pair struct {
	Key   *yaml.Node
	Value *yaml.Node
}

// Pairs returns the keys of a mapping in order, with those that it merges.
func Pairs(n *yaml.Node) []Pair {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var out []Pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != "<<" {
			out = append(out, Pair{key, value})
			continue
		}
		from := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			from = value.Content
		}
		for _, m := range from {
			for _, p := range Pairs(m) {
				if own(n, p.Key.Value) == nil {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// own returns the value of a key of the mapping itself.
func own(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// Items returns the items of a list. A single value is a list of one.
func Items(n *yaml.Node) []*yaml.Node {
	switch {
	case n == nil || n.Tag == "!!null":
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// Scalar returns the text of a plain value, "" for anything else.
func Scalar(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
