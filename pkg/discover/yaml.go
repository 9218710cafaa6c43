package discover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlerr"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

const maxAliased = 50_000 // nodes of a document with its aliases

// parseYAML returns the root of the last document of a text, with its aliases resolved: in GitLab's files, a document with a
// header may come first.
func parseYAML(text []byte) (*yaml.Node, int, error) {
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
	if n := yamlnode.Unbounded(root, maxAliased+16*len(text)); n != nil {
		return nil, n.Line, errors.New("aliases expand too far or contain themselves")
	}
	yamlnode.Resolve(root)
	return root, 0, nil
}

// get returns the value of a key of a mapping, also of one that it merges; nil if there is none.
func get(n *yaml.Node, key string) *yaml.Node {
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
			if v := get(m, key); v != nil {
				return v
			}
		}
		return nil
	}
	return get(merged, key)
}

// at returns the value at a path of keys.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = get(n, key)
	}
	return n
}

// pair is a key of a mapping and its value.
type pair struct {
	key   *yaml.Node
	value *yaml.Node
}

// pairs returns the keys of a mapping in order, with those that it merges.
func pairs(n *yaml.Node) []pair {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var out []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != "<<" {
			out = append(out, pair{key, value})
			continue
		}
		from := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			from = value.Content
		}
		for _, m := range from {
			for _, p := range pairs(m) {
				if own(n, p.key.Value) == nil {
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

// items returns the items of a list. A single value is a list of one.
func items(n *yaml.Node) []*yaml.Node {
	switch {
	case n == nil || n.Tag == "!!null":
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// scalar returns the text of a plain value, "" for anything else.
func scalar(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// lineOf returns the line of a node; that of the text if it is a block.
func lineOf(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Line + 1
	}
	return n.Line
}

// value converts a node to what expressions work with: string, float64, bool, nil, []any and map[string]any.
func value(n *yaml.Node) any {
	switch {
	case n == nil || n.Tag == "!!null":
		return nil
	case n.Kind == yaml.MappingNode:
		out := map[string]any{}
		for _, p := range pairs(n) {
			out[p.key.Value] = value(p.value)
		}
		return out
	case n.Kind == yaml.SequenceNode:
		out := []any{}
		for _, item := range n.Content {
			out = append(out, value(item))
		}
		return out
	case n.Tag == "!!bool":
		return strings.EqualFold(n.Value, "true")
	case n.Tag == "!!int" || n.Tag == "!!float":
		return number(n.Value)
	}
	return n.Value
}

// number is a number as it is written: 1.10 stays 1.10.
type number string

func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}
