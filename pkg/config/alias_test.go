package config_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// twice has each entry of the list of images stand twice in a document, and once more under another name, so that there is
// something to share.
func twice(root *yaml.Node) {
	list := root
	if root.Kind == yaml.MappingNode {
		list = nil
		for i := 0; i+1 < len(root.Content); i += 2 {
			if root.Content[i].Value == "images" {
				list = root.Content[i+1]
			}
		}
	}
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for _, entry := range slices.Clone(list.Content) {
		renamed := clone(entry)
		for i := 0; i+1 < len(renamed.Content) && entry.Kind == yaml.MappingNode; i += 2 {
			if key := renamed.Content[i].Value; key == "name" || key == "repository" {
				renamed.Content[i+1].Value += "2"
			}
		}
		list.Content = append(list.Content, clone(entry), renamed)
	}
}

func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	for _, child := range n.Content {
		c.Content = append(c.Content, clone(child))
	}
	return &c
}

// share replaces every value that stood in the document before by an alias of it. seen[""] counts the anchors.
func share(n *yaml.Node, seen map[string]*yaml.Node) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 || c.Tag == "!!null" { // a key, and what the writer gives no anchor
			continue
		}
		key := text(c)
		if first := seen[key]; first != nil {
			if first.Anchor == "" {
				anchors := seen[""]
				anchors.Line++
				first.Anchor = fmt.Sprintf("a%d", anchors.Line)
			}
			n.Content[i] = &yaml.Node{Kind: yaml.AliasNode, Value: first.Anchor, Alias: first}
			continue
		}
		share(c, seen)
		seen[key] = c
	}
}

// text is a value as a key: what it is, and not where.
func text(n *yaml.Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %d %q(", n.Kind, n.Tag, n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle), n.Value)
	for _, c := range n.Content {
		b.WriteString(text(c))
	}
	return b.String() + ")"
}

var (
	places = regexp.MustCompile(`line \d+`)
	again  = regexp.MustCompile(`^IF005 entry (.*) appears more than once in the list, through an alias$`)
)

// found returns the rules and messages that a document gives, without places.
func found(t *testing.T, doc *yaml.Node) []string {
	t.Helper()
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	require.NoError(t, enc.Encode(doc))
	cfg, err := config.Load(&out, "images.yaml")
	if err == nil {
		return cfg.Names()
	}
	var list finding.List
	require.ErrorAs(t, err, &list)
	all := make([]string, len(list))
	for i, f := range list {
		all[i] = f.Rule + " " + places.ReplaceAllString(f.Message, "line")
	}
	slices.Sort(all)
	return all
}

// aliased compares a document with itself, written with an alias wherever a value repeats.
func aliased(t *testing.T, source string) (aliases int) {
	t.Helper()
	var doc yaml.Node
	if yaml.Unmarshal([]byte(source), &doc) != nil || len(doc.Content) == 0 || hasAlias(&doc) {
		return 0
	}
	twice(doc.Content[0])
	written := found(t, &doc)
	shared := clone(&doc)
	share(shared, map[string]*yaml.Node{"": {}})
	out, err := yaml.Marshal(shared)
	require.NoError(t, err)
	var back yaml.Node
	require.NoError(t, yaml.Unmarshal(out, &back), "%s", out)
	got := found(t, &back)
	for i := range got {
		got[i] = again.ReplaceAllString(got[i], "IF005 name $1 is taken by the entry on line")
	}
	slices.Sort(got)
	assert.Equal(t, written, got, "%s", out)
	return strings.Count(string(out), "*a")
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, hasAlias)
}

// TestAliasesAreWrittenOut: a document by alias is as right or wrong as the same document written out.
func TestAliasesAreWrittenOut(t *testing.T) {
	total := 0
	for _, source := range invalid {
		total += aliased(t, source.text)
	}
	for _, source := range []string{readmeEntry, "defaults: {source: {platforms: [linux/amd64]}}\nimages:\n" + readmeEntry} {
		total += aliased(t, source)
	}
	assert.Greater(t, total, 60, "there is something to compare")
}

// FuzzAliases does the same with documents that nobody thought of.
func FuzzAliases(f *testing.F) {
	for _, source := range invalid {
		f.Add(source.text)
	}
	f.Add(readmeEntry)
	f.Fuzz(func(t *testing.T, source string) { aliased(t, source) })
}

// TestPlacesOfAliases: a problem is where the value is written, once for each use of it. An entry or a name that is there twice
// is where it stands the second time.
func TestPlacesOfAliases(t *testing.T) {
	_, err := config.Load(strings.NewReader(`defaults: {source: {platforms: &p [amd64]}}
images:
- name: one
  repository: acme/one
  autoRebuild: false
  source: &s
    provider: github
    repo: just-one
- name: two
  repository: acme/two
  source: *s
- &three {name: three, repository: acme/three, rebuildDelay: &d 7days}
- *three
- {name: &n Four, repository: *n, rebuildDelay: *d, source: {provider: git, repo: "https://g.example/a", platforms: *p}}
- {name: *n, repository: acme/four}
`), "images.yaml")
	require.Error(t, err)
	for _, want := range []string{
		`images.yaml:1:36: defaults.source.platforms[0]: invalid platform "amd64"`,
		`images.yaml:1:36: Four: source.platforms[0]: invalid platform "amd64"`,
		`images.yaml:6:11: two: source: workflow is missing`,
		`images.yaml:8:11: one: source.repo: invalid GitHub repository "just-one"`,
		`images.yaml:8:11: two: source.repo: invalid GitHub repository "just-one"`,
		`images.yaml:13:3: entry "three" appears more than once in the list, through an alias`,
		`images.yaml:12:62: images[2].rebuildDelay: duration "7days"`,
		`images.yaml:12:62: images[4].rebuildDelay: duration "7days"`,
		`images.yaml:14:10: invalid name "Four"`,
		`images.yaml:15:10: name "Four" is taken by the entry on line 14`,
		`images.yaml:14:10: Four: invalid repository "Four"`,
	} {
		assert.Contains(t, err.Error(), want)
	}
}

func TestPlacesOfAliasesThatAreRefused(t *testing.T) {
	for text, place := range map[string]string{
		"images:\n- &a\n  name: a\n  source: *a\n": "images.yaml:4:11: ",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n" +
			"images: *f\n": "images.yaml:7:9: ",
	} {
		_, err := config.Load(strings.NewReader(text), "images.yaml")
		require.ErrorContains(t, err, "aliases expand too far or contain themselves")
		assert.True(t, strings.HasPrefix(err.Error(), place), "%s", err)
	}
}
