// Package yamlnode handles the aliases of YAML documents that others wrote.
package yamlnode

import "go.yaml.in/yaml/v3"

// Unbounded returns the alias with which decoding would exceed a budget of nodes, or nil. It protects against aliases that
// recurse or multiply (a YAML bomb).
func Unbounded(n *yaml.Node, budget int) *yaml.Node {
	return unbounded(n, map[*yaml.Node]bool{}, &budget)
}

func unbounded(n *yaml.Node, open map[*yaml.Node]bool, budget *int) *yaml.Node {
	*budget--
	if *budget < 0 || open[n] {
		return n
	}
	if n.Kind == yaml.AliasNode {
		open[n] = true
		defer delete(open, n)
		if unbounded(n.Alias, open, budget) != nil {
			return n
		}
		return nil
	}
	for _, c := range n.Content {
		if alias := unbounded(c, open, budget); alias != nil {
			return alias
		}
	}
	return nil
}

// Resolve replaces every alias by its target, so that decoding and validation see a document without aliases. Findings
// therefore point at the value, not at the alias.
func Resolve(n *yaml.Node) { resolve(n, map[*yaml.Node]bool{}) }

func resolve(n *yaml.Node, done map[*yaml.Node]bool) {
	if done[n] {
		return
	}
	done[n] = true
	for i, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			n.Content[i] = c.Alias
		}
		resolve(n.Content[i], done)
	}
}
