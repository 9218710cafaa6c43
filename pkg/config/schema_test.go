package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// compileSchema returns the schema of images.yaml as an editor has it.
func compileSchema(t *testing.T) *validator.Schema {
	t.Helper()
	text, err := json.Marshal(config.Schema())
	require.NoError(t, err)
	doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := validator.NewCompiler()
	require.NoError(t, c.AddResource("images.schema.json", doc))
	s, err := c.Compile("images.schema.json")
	require.NoError(t, err)
	return s
}

// asEditors decodes a document as editors do, by YAML 1.2: a date without quotes is a string.
func asEditors(t *testing.T, text []byte) any {
	t.Helper()
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &doc))
	datesToStrings(&doc)
	var value any
	require.NoError(t, doc.Decode(&value))
	return value
}

func datesToStrings(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		datesToStrings(child)
	}
}

var fence = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// examples returns every images.yaml of the repository's tests and pages that Load accepts.
func examples(t *testing.T) map[string]string {
	t.Helper()
	const root = "../.."
	texts := map[string]string{}
	add := func(pattern string, split func(file string, data []byte)) {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			split(file, data)
		}
	}
	whole := func(file string, data []byte) { texts[file] = string(data) }
	add("images.yaml", whole)
	add("test/demo/images.yaml", whole)
	add("pkg/cli/testdata/script/*.txtar", func(file string, data []byte) {
		for _, f := range txtar.Parse(data).Files {
			if strings.HasSuffix(f.Name, ".yaml") {
				texts[file+" "+f.Name] = string(f.Data)
			}
		}
	})
	fences := func(file string, data []byte) {
		for _, m := range fence.FindAllSubmatch(data, -1) {
			text := string(m[1])
			if strings.HasPrefix(text, "factory:") {
				text += "images: []\n"
			}
			texts[file+" "+text] = text
		}
	}
	add("README.md", fences)
	add("docs/*.md", fences)
	for name, text := range texts {
		if _, err := config.Load(strings.NewReader(text), "images.yaml"); err != nil {
			delete(texts, name)
		}
	}
	assert.Greater(t, len(texts), 30)
	return texts
}

// TestSchemaAcceptsExamples: what Load accepts, the schema accepts.
func TestSchemaAcceptsExamples(t *testing.T) {
	schema := compileSchema(t)
	for name, text := range examples(t) {
		value := asEditors(t, []byte(text))
		if value == nil { // an empty file is an empty list, for which editors validate nothing
			continue
		}
		assert.NoError(t, schema.Validate(value), "%s\n%s", name, text)
	}
}

// TestSchemaRefusesMutants: an unknown key, and a value of another type, in any place of the examples is refused by the schema where
// Load refuses it, and accepted where Load accepts it.
func TestSchemaRefusesMutants(t *testing.T) {
	schema := compileSchema(t)
	seen := map[string]bool{}
	accepted, refused := 0, 0
	for name, text := range examples(t) {
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
		mutate(&doc, "", func(what string) {
			if seen[what] {
				return
			}
			seen[what] = true
			mutant, err := yaml.Marshal(&doc)
			require.NoError(t, err)
			_, err = config.Load(bytes.NewReader(mutant), "images.yaml")
			var problems finding.List
			if err != nil {
				require.ErrorAs(t, err, &problems)
			}
			invalid := schema.Validate(asEditors(t, mutant))
			switch {
			case ofForm(problems):
				refused++
				require.Error(t, invalid, "%s: %s\n%v\n%s", name, what, err, mutant)
			case err == nil && !strings.HasSuffix(what, "a bare scalar"): // the schema wants quotes where a text looks like a number
				accepted++
				assert.NoError(t, invalid, "%s: %s\n%s", name, what, mutant)
			}
		})
	}
	assert.Greater(t, refused, 200)
	assert.Greater(t, accepted, 20)
}

// ofForm reports whether one of the problems is an unknown key or a value of the wrong type.
func ofForm(problems finding.List) bool {
	return slices.ContainsFunc(problems, func(p finding.Finding) bool {
		return p.Rule == finding.UnknownKey.ID || strings.Contains(p.Message, ": want ") && strings.Contains(p.Message, ", not ")
	})
}

// others are values that take the place of each value of a document.
var others = map[string]*yaml.Node{
	"a text":        {Kind: yaml.ScalarNode, Tag: "!!str", Value: "text"},
	"a bare scalar": {Kind: yaml.ScalarNode, Tag: "!!int", Value: "7"},
	"a list":        {Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: "text"}}},
	"a mapping":     mapping("key", "text"),
}

func mapping(pair ...string) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: pair[0]}, {Kind: yaml.ScalarNode, Value: pair[1]}}}
}

// mutate calls try after each change of one place below n, with the place and the change. Then it undoes the change.
func mutate(n *yaml.Node, path string, try func(what string)) {
	for i, child := range n.Content {
		at := path
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
			continue
		case n.Kind == yaml.MappingNode:
			at += "." + n.Content[i-1].Value
		case n.Kind == yaml.SequenceNode:
			at += "[]"
		}
		for what, other := range others {
			n.Content[i] = other
			try(at + " becomes " + what)
		}
		n.Content[i] = child
		mutate(child, at, try)
	}
	if n.Kind == yaml.MappingNode {
		n.Content = append(n.Content, mapping("unknownKey", "text").Content...)
		try(path + " has an unknown key")
		n.Content = n.Content[:len(n.Content)-2]
	}
}
