package yamlerr_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlerr"
)

// broken are texts in which » stands before the mistake.
var broken = map[string]string{
	"indented too little":      "- name: a\n  repository: o/a\n »x: y\n",
	"no dash":                  "- name: a\n  repository: o/a\n»name: b\n- name: c\n",
	"a list in a mapping":      "a: 1\nb: 2\n»- c\n",
	"indented too much":        "- name: a\n  repository: o/a\n   tags»: x\n",
	"a tab":                    "- name: a\n»\trepository: o/a\n",
	"a bracket":                "- name: a\n  repository: »[o, a\n- name: b\n- name: c\n",
	"a bracket before a dash":  "- name: »[\n- x\n",
	"a bracket at the end":     "- name: a\n  x: »[\n",
	"a bracket, and nothing":   "- name: a\n  x: »[a,\n\n\n",
	"a brace at the end":       "- name: a\n  x: {b: c, d: »{e: \n",
	"a brace":                  "- name: a\n- »{name: a, repository: o/a\n- {name: b}\n",
	"a wrong bracket":          "- name: a\n- name: b\n  x: »{a: b]\n",
	"a comma":                  "inputs: {\n  a: b\n  c»: d\n}\n",
	"two commas":               "x: 1\ny: {a: 1,», b: 2}\n",
	"a double quote":           "- name: a\n- name: »\"b\n  repository: o/a\n- name: c\n",
	"a single quote":           "- name: a\n- name: »'b\n",
	"text behind a quote":      "b: 2\na: 'it'»s'\nc: 3\n",
	"an escape":                "- name: a\n  repository: \"o»\\qa\"\n",
	"a colon":                  "ok: 1\nname: a\n»name b\nz: 1\n",
	"a colon in an entry":      "- name: a\n  »repository o/a\n  tags: x\n",
	"two colons":               "- name: a\n  repository: o/a»: b\n",
	"an at sign":               "- name: a\n  x: »@foo\n",
	"an unknown anchor":        "- name: a\n- name: b\n  x: »*nope\n",
	"an anchor without a name": "- name: a\n  x: &»\n",
	"a stray bracket":          "- name: a\n  x: »]\n  y: 1\n",
	"a bracket too much":       "a: 1\nkey: [a, b]»]\n",
	"a control character":      "- name: a\n- name: b\n  x: a»\x01\n",
	"no UTF-8":                 "- name: a\n  x: ä»\xff\n",
	"a text ends early":        "a: |\n  x\n »y\nb: 1\n",
	"a list behind a key":      "ok: 1\na: »- b\n",
	"deep":                     "factory:\n  state: {url: x}\nimages:\n  - name: a\n »repository: x\n",
	"a merge conflict":         "- name: a\n»<<<<<<< HEAD\n- name: b\n=======\n- name: c\n>>>>>>> theirs\n",
	"what is left of one":      "a: 1\n»=======\nb: 2\n",
	"the common ancestor":      "a: 1\n»||||||| 1234567\nb: 2\n",
}

func TestPlaces(t *testing.T) {
	for name, marked := range broken {
		for _, ends := range []string{"\n", "\r\n", "\r", "\u0085", "\u2028", "\u2029"} {
			at := strings.Index(marked, "»")
			text := strings.ReplaceAll(strings.Replace(marked, "»", "", 1), "\n", ends)
			line := 1 + strings.Count(marked[:at], "\n")
			column := 1 + len([]rune(marked[strings.LastIndex(marked[:at], "\n")+1:at]))
			err := yaml.Unmarshal([]byte(text), new(yaml.Node))
			require.Error(t, err, name)
			p := yamlerr.Explain([]byte(text), err)
			assert.Equal(t, [2]int{line, column}, [2]int{p.Line, p.Column}, "%s %q: %s", name, ends, p.Message)
			assert.NotEmpty(t, p.Message, name)
			assert.NotContains(t, p.Message, "line ", name)
			assert.Equal(t, strings.Contains(text, "=======") || strings.Contains(text, "|||||||"), p.Conflict, name)
		}
	}
}

func TestTabs(t *testing.T) {
	for text, fix := range map[string]string{
		"a:\n\tb: c\n":      "indent with spaces",
		"a:\n  \tb: c\n":    "indent with spaces",
		"-\tname: a\n":      "indent with spaces",
		"- a:\n\t- b\n":     "indent with spaces",
		"a: @b\n":           "quote the value",
		"a: 1\nb:\t@c\td\n": "quote the value",
	} {
		for _, ends := range []string{"\n", "\r\n", "\r"} {
			text := []byte(strings.ReplaceAll(text, "\n", ends))
			err := yaml.Unmarshal(text, new(yaml.Node))
			require.Error(t, err, "%q", text)
			assert.Equal(t, fix, yamlerr.Explain(text, err).Fix, "%q", text)
		}
	}
}

func TestValuesOfTheWrongType(t *testing.T) {
	text := []byte("a: 1\nb:\n  - x\n")
	err := yaml.Unmarshal(text, &struct{ B map[string]string }{})
	require.Error(t, err)
	p := yamlerr.Explain(text, err)
	assert.Equal(t, 3, p.Line)
	assert.Contains(t, p.Message, "cannot unmarshal !!seq")
}

// FuzzExplain: whatever the parser refuses has a place in the text.
func FuzzExplain(f *testing.F) {
	for _, marked := range broken {
		text := strings.Replace(marked, "»", "", 1)
		f.Add([]byte(text))
		f.Add([]byte(strings.ReplaceAll(text, "\n", "\r")))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := yaml.Unmarshal(text, new(yaml.Node))
		if err == nil {
			return
		}
		p := yamlerr.Explain(text, err)
		assert.NotEmpty(t, p.Message)
		assert.Positive(t, p.Column)
		assert.Positive(t, p.Line)
		assert.LessOrEqual(t, p.Line, 2+strings.Count(string(text), "\n")+strings.Count(string(text), "\r")+
			strings.Count(string(text), "\u0085")+strings.Count(string(text), "\u2028")+strings.Count(string(text), "\u2029"))
	})
}
