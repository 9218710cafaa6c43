package discover

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

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
		for _, p := range yamlnode.Pairs(n) {
			out[p.Key.Value] = value(p.Value)
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
