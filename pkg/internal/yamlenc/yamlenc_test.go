package yamlenc

import (
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
	sigsyaml "sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

type embedded struct {
	Kind string `json:"kind,omitempty"`
	Name string `json:"name"`
}

type hidden struct {
	Seen string `json:"seen"`
}

type textual struct{ s string }

func (t textual) MarshalText() ([]byte, error) {
	if t.s == "fail" {
		return nil, errors.New("no text")
	}
	return []byte(t.s), nil
}

type byPointer struct{ s string }

func (p *byPointer) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]string{"p": p.s}) }

type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

type level1 string

type recursive struct {
	Name string       `json:"name"`
	Next *recursive   `json:"next,omitempty"`
	More []*recursive `json:"more,omitempty"`
}

func TestMarshal(t *testing.T) {
	cet := time.FixedZone("CET", 3600)
	two := 2
	type untagged struct {
		A string
		B *int
	}
	type yamlTagged struct {
		FirstSeen string         `yaml:",omitempty"`
		Both      string         `yaml:"other" json:"both"`
		Named     string         `yaml:"named"`
		Left      string         `yaml:"-"`
		Rest      map[string]any `yaml:",inline"`
	}
	tests := map[string]struct {
		in   any
		want string
	}{
		"nil":             {nil, "null\n"},
		"string":          {"a", "a\n"},
		"int":             {-3, "-3\n"},
		"uint":            {uint64(math.MaxUint64), "18446744073709551615\n"},
		"int8":            {int8(-8), "-8\n"},
		"bool":            {true, "true\n"},
		"named string":    {level1("no"), "\"no\"\n"},
		"float":           {1.5, "1.5\n"},
		"float32":         {float32(0.1), "0.1\n"},
		"large float":     {1e21, "1.0e+21\n"},
		"small float":     {-1.25e-9, "-1.25e-09\n"},
		"json number":     {json.Number("12345678901234567890"), "12345678901234567890\n"},
		"json exponent":   {json.Number("1E5"), "1.0e+5\n"},
		"no json number":  {json.Number(""), "0\n"},
		"quoted":          {Quoted("plain"), "\"plain\"\n"},
		"time":            {time.Date(2026, 1, 2, 3, 4, 5, 0, cet), "\"2026-01-02T02:04:05Z\"\n"},
		"time fraction":   {time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC), "\"2026-01-02T03:04:05.6Z\"\n"},
		"time pointer":    {&time.Time{}, "\"0001-01-01T00:00:00Z\"\n"},
		"bytes":           {[]byte("hi"), "aGk=\n"},
		"nil bytes":       {[]byte(nil), "null\n"},
		"array":           {[2]byte{1, 2}, "- 1\n- 2\n"},
		"empty map":       {map[string]any{}, "{}\n"},
		"nil map":         {map[string]any(nil), "null\n"},
		"empty slice":     {[]any{}, "[]\n"},
		"nil slice":       {[]any(nil), "null\n"},
		"empty typed map": {map[string]int{}, "{}\n"},
		"nil typed map":   {map[string]int(nil), "null\n"},
		"empty list":      {[]int{}, "[]\n"},
		"nil list":        {[]int(nil), "null\n"},
		"empty struct":    {struct{}{}, "{}\n"},
		"nil pointer":     {(*embedded)(nil), "null\n"},
		"sorted":          {map[string]any{"b": 1, "a": 2, "B": 3, "a10": 4, "a9": 5}, "B: 3\na: 2\na10: 4\na9: 5\nb: 1\n"},
		"named keys":      {map[level1]int{"y": 1, "x": 2}, "x: 2\n\"y\": 1\n"},
		"string map":      {struct{ M map[string]string }{map[string]string{"b": "1", "a": "x"}}, "M:\n  a: x\n  b: \"1\"\n"},
		"untagged":        {untagged{A: "x"}, "A: x\nB: null\n"},
		"pointer value":   {untagged{B: &two}, "A: \"\"\nB: 2\n"},
		"list under key":  {map[string]any{"k": []any{"a", "b"}}, "k:\n- a\n- b\n"},
		"list of maps":    {map[string]any{"k": []any{map[string]any{"a": 1, "b": []any{1}}}}, "k:\n- a: 1\n  b:\n  - 1\n"},
		"list of lists":   {[]any{[]any{1, []any{2, 3}}, []any{}}, "- - 1\n  - - 2\n    - 3\n- []\n"},
		"nested empty":    {map[string]any{"a": map[string]any{}, "b": []any{}, "c": nil}, "a: {}\nb: []\nc: null\n"},
		"nested map":      {map[string]any{"a": map[string]any{"b": map[string]any{"c": 1}}}, "a:\n  b:\n    c: 1\n"},
		"empty in list":   {[]any{struct{}{}, map[string]int{}}, "- {}\n- {}\n"},
		"text marshaler":  {map[string]any{"t": textual{"1.5"}}, "t: \"1.5\"\n"},
		"json marshaler":  {map[string]any{"t": raw(`{"b":[1.0,2],"a":null}`)}, "t:\n  a: null\n  b:\n  - 1.0\n  - 2\n"},
		"json escape":     {raw(`"a\u003cb"`), "a<b\n"},
		"pointer method":  {&struct{ P byPointer }{byPointer{"x"}}, "P:\n  p: x\n"},
		"no address":      {struct{ P byPointer }{byPointer{"x"}}, "P: {}\n"},
		"recursive":       {recursive{Name: "a", Next: &recursive{Name: "b"}, More: []*recursive{nil, {Name: "c"}}}, "name: a\nnext:\n  name: b\nmore:\n- null\n- name: c\n"},
		"embedded": {struct {
			embedded
			Name string `json:"title"`
		}{embedded{"K", "n"}, "t"}, "kind: K\nname: \"n\"\ntitle: t\n"},
		"embedded nil": {struct{ *embedded }{}, "{}\n"},
		"shadowed": {struct {
			embedded
			Name int `json:"name"`
		}{embedded{"", "n"}, 1}, "name: 1\n"},
		"ambiguous": {struct {
			embedded
			hidden
			Other struct{ Name string }
		}{hidden: hidden{"s"}}, "name: \"\"\nseen: s\nOther:\n  Name: \"\"\n"},
		"inline struct": {struct {
			A int
			E *embedded `json:",inline"`
		}{1, &embedded{Name: "x"}}, "A: 1\nname: x\n"},
		"skipped": {struct {
			A int `json:"-"`
		}{1}, "{}\n"},
		"yaml tags": {yamlTagged{"x", "b", "n", "l", map[string]any{"z": 1, "c": []any{2}}}, "firstseen: x\nother: b\nnamed: \"n\"\nc:\n- 2\nz: 1\n"},
		"only inlined": {struct {
			M map[string]any `yaml:",inline"`
		}{map[string]any{"a": 1}}, "a: 1\n"},
		"omitempty": {struct {
			A string          `json:"a,omitempty"`
			B *int            `json:"b,omitempty"`
			C map[string]int  `json:"c,omitempty"`
			D []int           `json:"d,omitempty"`
			E struct{}        `json:"e,omitempty"`
			F bool            `json:"f,omitempty"`
			G float64         `json:"g,omitempty"`
			H any             `json:"h,omitempty"`
			I time.Time       `json:"i,omitzero"`
			J metav1.Time     `json:"j,omitzero"`
			K *metav1.Time    `json:"k,omitzero"`
			L struct{ X int } `json:"l,omitzero"`
		}{}, "e: {}\n"},
		"kubernetes types": {struct {
			T metav1.Time
			D metav1.Duration
			Q resource.Quantity
			P *resource.Quantity
			I intstr.IntOrString
			S intstr.IntOrString
		}{
			metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), metav1.Duration{Duration: time.Hour},
			resource.MustParse("100m"), nil, intstr.FromInt32(80), intstr.FromString("80"),
		}, "T: \"2026-01-02T03:04:05Z\"\nD: 1h0m0s\nQ: 100m\nP: null\nI: 80\nS: \"80\"\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Marshal(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
		})
	}
}

func TestStrings(t *testing.T) {
	plain := []string{
		"a", "Hello, world", "ghcr.io/owner/app:1.2", "node:22", "1.2.3", "22-bookworm", "7d", "100m", "1Gi",
		"6h0m0s", "${{ vars.image }}", "a-b", "--flag", "-c", "/bin/sh", "sha256:0aff", "a#b", "a:b", "it's",
		"a \"b\"", "x, y", "a{b}", "a]", "0 * * * *", "größe", "日本", "😀", ".", "..", "./x", "yess",
		"nope", "nul", "a b", "==1", "<5", "$x", "(a)", "^a$", "~user", "2026-01-02-rc1", "0xyz", "12345g", "+", "_",
	}
	for _, s := range plain {
		got, err := Marshal(s)
		require.NoError(t, err)
		assert.Equal(t, s+"\n", string(got))
	}
	quoted := []string{
		"", " ", " a", "a ", "y", "Y", "n", "N", "yes", "Yes", "NO", "on", "oFf", "true", "TRUE", "False", "null",
		"Null", "~", "=", "<<", "0", "1", "-1", "+1", "1.0", "1.", ".5", "-.5", "1e3", "1E-3", "1.5e+3", "12e03",
		"0x1F", "0X1f", "0o17", "0b11", "017", "-0x1", "1_000", "0_x1", "+_1", "1,000", "1:20", "190:20:30", "1:20.5",
		".inf", "-.INF", "+.Inf", ".nan", ".NaN", "2026-01-02", "2026-1-2", "2026-01-02T03:04:05Z",
		"2026-01-02 03:04:05", "2001-12-14t21:59:43.10-05:00", "---", "--- a", "...", "-", "- a", "?", "? a", ":", ": a", ":a",
		"a:", "a: b", "a #b", "#", "# a", ",", "[a]", "]", "{a}", "}", "&a", "*a", "!a", "|", ">", "'a'", "\"a\"",
		"%a", "@a", "`a`", "a\tb", "\t", "a\r", "\n", "a\x00b", "a\x7f", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff",
		"a\u200bb", "\u202e", "\ue000", "\ufffe", "\U000e0001", " a\nb", "\ta\nb", "a\n \nb", "a\r\nb", "a\n\u2028", "\n\n",
	}
	for _, s := range quoted {
		got, err := Marshal(s)
		require.NoError(t, err)
		assert.Regexp(t, `^"[^\n]*"\n$`, string(got), "%q", s)
	}
}

func TestEscapes(t *testing.T) {
	got, err := Marshal("\"\\\a\b\t\r\n\x1b\x7f\u0085\u2028\ufeff\U000e0001😀")
	require.NoError(t, err)
	assert.Equal(t, `"\"\\\u0007\u0008\t\r\n\u001b\u007f\u0085\u2028\ufeff\U000e0001😀"`+"\n", string(got))
}

func TestLiterals(t *testing.T) {
	tests := map[string]struct {
		in   any
		want string
	}{
		"clip":       {"a\nb\n", "|\n  a\n  b\n"},
		"strip":      {"a\nb", "|-\n  a\n  b\n"},
		"keep":       {"a\n\n\n", "|+\n  a\n\n\n"},
		"in map":     {map[string]any{"k": "a\n\nb\n", "l": 1}, "k: |\n  a\n\n  b\nl: 1\n"},
		"in list":    {map[string]any{"k": []any{"a\nb\n", "c"}}, "k:\n- |\n  a\n  b\n- c\n"},
		"deep":       {[]any{map[string]any{"k": "a\n  b\n"}}, "- k: |\n    a\n      b\n"},
		"tabs":       {"all:\n\tgo build\n", "|\n  all:\n  \tgo build\n"},
		"blank lead": {"\na\n", "|\n\n  a\n"},
		"comment":    {"# a\n--- b\n", "|\n  # a\n  --- b\n"},
		"as a key":   {map[string]any{"a\nb": 1}, "\"a\\nb\": 1\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Marshal(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
		})
	}
}

func TestErrors(t *testing.T) {
	loop := map[string]any{}
	loop["self"] = loop
	chain := &recursive{}
	chain.Next = chain
	type list []any
	self := list{nil}
	self[0] = self
	tests := map[string]struct {
		in   any
		want string
	}{
		"utf-8":           {map[string]any{"a": []any{1, map[string]any{"b": "\xff"}}}, `encoding "a[1].b" as YAML: invalid UTF-8`},
		"utf-8 key":       {map[string]any{"a": map[string]int{"\xff": 1}}, "encoding \"a.\uFFFD\" as YAML: invalid UTF-8"},
		"utf-8 in struct": {struct{ S []string }{[]string{"ok", "\xc0"}}, `encoding "S[1]" as YAML: invalid UTF-8`},
		"utf-8 quoted":    {Quoted("\xff"), "encoding YAML: invalid UTF-8"},
		"utf-8 in json":   {raw("\"\xff\""), "encoding YAML: marshaling yamlenc.raw: invalid UTF-8"},
		"not a number":    {map[string]any{"a": math.NaN()}, `encoding "a" as YAML: unsupported number NaN`},
		"infinity":        {math.Inf(-1), "encoding YAML: unsupported number -Inf"},
		"channel":         {struct{ C chan int }{}, `encoding "C" as YAML: unsupported type chan int`},
		"map key":         {map[int]string{1: "a"}, "encoding YAML: unsupported map key type int"},
		"json number":     {json.Number("1x"), `encoding YAML: invalid number "1x"`},
		"json string":     {json.Number(`"1"`), `encoding YAML: invalid number "\"1\""`},
		"bad json":        {raw("{"), "encoding YAML: decoding the JSON of yamlenc.raw: unexpected EOF"},
		"two json values": {raw("1 2"), "encoding YAML: decoding the JSON of yamlenc.raw: more than one value"},
		"text":            {textual{"fail"}, "encoding YAML: marshaling yamlenc.textual: no text"},
		"year":            {time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "encoding YAML: year 10000 has no RFC 3339 form"},
		"string option": {struct {
			A int `json:",string"`
		}{}, `encoding YAML: unsupported option "string" of field "A"`},
		"embedded name": {struct {
			embedded `json:"in"`
		}{}, `encoding YAML: unsupported name "in" for embedded unexported "embedded"`},
		"inline scalar": {struct {
			A int `json:",inline"`
		}{}, "encoding YAML: the option inline is for structs and for one map"},
		"inline collision": {struct {
			A int
			M map[string]any `json:",inline"`
		}{M: map[string]any{"A": 1}}, `encoding "A" as YAML: inline entry with the name of a field`},
		"cycle of maps":    {loop, `encoding "` + strings.TrimPrefix(strings.Repeat(".self", maxPath), ".") + `…" as YAML: more than 200 levels deep, or containing itself`},
		"cycle of lists":   {self, `encoding "` + strings.Repeat("[0]", maxPath) + `…" as YAML: more than 200 levels deep, or containing itself`},
		"cycle of structs": {chain, `encoding "` + strings.TrimPrefix(strings.Repeat(".next", maxPath), ".") + `…" as YAML: more than 200 levels deep, or containing itself`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Append([]byte("before"), tt.in)
			require.EqualError(t, err, tt.want)
			assert.Equal(t, "before", string(got))
		})
	}
}

func TestAppend(t *testing.T) {
	got, err := Append([]byte("---\n"), map[string]any{"a": 1})
	require.NoError(t, err)
	assert.Equal(t, "---\na: 1\n", string(got))
}

func TestLongKey(t *testing.T) {
	for _, n := range []int{999, 1000, 1001, 5000} {
		in := map[string]any{strings.Repeat("k", n): []any{map[string]any{strings.Repeat("\x01", n): map[string]any{"a": "b"}}}, "z": "x"}
		requireReadBack(t, in)
	}
}

// requireReadBack writes v, a value as JSON decoding makes it, and reads it with both readers.
func requireReadBack(t require.TestingT, v any) {
	out, err := Marshal(v)
	require.NoError(t, err)

	var sigs any
	require.NoError(t, sigsyaml.Unmarshal(out, &sigs), "%s", out)
	wantJSON, err := json.Marshal(v)
	require.NoError(t, err)
	gotJSON, err := json.Marshal(sigs)
	require.NoError(t, err)
	require.Equal(t, wantJSON, gotJSON, "%s", out)

	var direct any
	require.NoError(t, yamlv3.Unmarshal(out, &direct), "%s", out)
	directJSON, err := json.Marshal(direct)
	require.NoError(t, err, "%s", out)
	require.Equal(t, wantJSON, directJSON, "%s", out)

	var node yamlv3.Node
	require.NoError(t, yamlv3.Unmarshal(out, &node), "%s", out)
	var viaNode any
	require.NoError(t, node.Decode(&viaNode))
	require.Equal(t, direct, viaNode)

	again, err := Marshal(v)
	require.NoError(t, err)
	require.Equal(t, string(out), string(again))
	require.True(t, strings.HasSuffix(string(out), "\n"))
}

// hostile are pieces that strings are made of: indicators, look-alikes of other types, white space of all
// kinds.
var hostile = []string{
	"-", "?", ":", ",", "[", "]", "{", "}", "#", "&", "*", "!", "|", ">", "'", "\"", "%", "@", "`", "\\", "=", "<<", "~",
	" ", "  ", "\t", "\n", "\r", "\r\n", "\u0085", "\u2028", "\u2029", "\ufeff", "\u00a0", "\x00", "\x07", "\x1b", "\x7f", "\u009f",
	"---", "...", "--- ", ": ", " #", "- ", "? ", "|2", ">-", "y", "No", "null", "true", ".inf", "-.nan", "0x", "0o7", "0b1", "_",
	"1", "0", "12", "e3", "E+", ".", "+", "1:20", "2026-01-02", "T03:04:05Z", "${{ ", " }}", "quote('a')", "é", "日本", "😀",
	"\U0010ffff", "\ufffd", "\uffff", "\ue000", "\U000e0001", "a", "b c", "text", "!!str", "&a", "*a", "%YAML 1.1", "\u200b",
}

func hostileString() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(hostile), 0, 6).Draw(t, "pieces"), "")
		}),
		rapid.StringOfN(rapid.RuneFrom([]rune("0123456789_+-.:,eExXobTZ aAfFinN")), 0, 8, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("a \t\n#-")), 0, 12, -1),
		rapid.String(),
	)
}

func jsonValue(depth int) *rapid.Generator[any] {
	scalars := rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int(), func(i int) any { return i }),
		rapid.Map(rapid.Float64Range(-1e30, 1e30), func(f float64) any { return f + 0 }),
		rapid.Map(hostileString(), func(s string) any { return s }),
	)
	if depth == 0 {
		return scalars
	}
	return rapid.OneOf(scalars,
		rapid.Map(rapid.SliceOfN(jsonValue(depth-1), 0, 4), func(s []any) any { return s }),
		rapid.Map(rapid.MapOfN(hostileString(), jsonValue(depth-1), 0, 4), func(m map[string]any) any { return m }),
	)
}

func TestReadBackProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		requireSame(t, jsonValue(4).Draw(t, "value"))
	})
}

func TestStringProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.ToValidUTF8(hostileString().Draw(t, "string"), "")
		requireSame(t, s)
		requireSame(t, map[string]any{s: s, "z": []any{s, map[string]any{s: []any{[]any{s}, s}}}})
	})
}

// requireSame is requireReadBack without the detour through JSON text where numbers are concerned: YAML
// readers give a whole float back as an integer, which is the same JSON value.
func requireSame(t require.TestingT, v any) {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var normal any
	require.NoError(t, json.Unmarshal(data, &normal))
	out, err := Marshal(v)
	require.NoError(t, err)

	var sigs any
	require.NoError(t, sigsyaml.Unmarshal(out, &sigs), "%s", out)
	require.Equal(t, normal, sigs, "%s", out)

	var direct, viaNode any
	require.NoError(t, yamlv3.Unmarshal(out, &direct), "%s", out)
	require.Equal(t, normal, throughJSON(t, direct), "%s", out)
	var node yamlv3.Node
	require.NoError(t, yamlv3.Unmarshal(out, &node), "%s", out)
	require.NoError(t, node.Decode(&viaNode))
	require.Equal(t, direct, viaNode)
}

func throughJSON(t require.TestingT, v any) any {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var out any
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}

func FuzzString(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
		f.Add("a" + s)
		f.Add(s + "\nb\n")
	}
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, s string) {
		out, err := Marshal(map[string]any{"k": s})
		if !utf8.ValidString(s) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		requireReadBackString(t, s, out)
		requireSame(t, map[string]any{"a": s, "l": []any{s, []any{s}}, s: map[string]any{s: s}})
	})
}

// requireReadBackString compares bytes, where requireSame would take U+FFFD for what JSON replaces by it.
func requireReadBackString(t *testing.T, s string, out []byte) {
	for name, unmarshal := range map[string]func([]byte, any) error{
		"sigs": func(b []byte, v any) error { return sigsyaml.Unmarshal(b, v) },
		"v3":   yamlv3.Unmarshal,
	} {
		var got map[string]any
		require.NoError(t, unmarshal(out, &got), "%s: %s", name, out)
		require.Equal(t, map[string]any{"k": s}, got, "%s: %s", name, out)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"x\ny","c":[[],{}]}],"d":1e400}`))
	f.Add([]byte(`[[["\u2028"]],{"":{"":""}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if json.Unmarshal(data, &v) != nil {
			return
		}
		if _, err := Marshal(v); err != nil {
			require.ErrorContains(t, err, "levels deep")
			return
		}
		requireSame(t, v)
	})
}

// TestKubernetesTypes compares with sigs.k8s.io/yaml: other quotes, the same object.
func TestKubernetesTypes(t *testing.T) {
	for name, obj := range kubernetesObjects() {
		t.Run(name, func(t *testing.T) {
			ours, err := Marshal(obj)
			require.NoError(t, err)
			theirs, err := sigsyaml.Marshal(obj)
			require.NoError(t, err)
			want, err := sigsyaml.YAMLToJSON(theirs)
			require.NoError(t, err)
			got, err := sigsyaml.YAMLToJSON(ours)
			require.NoError(t, err)
			assert.JSONEq(t, string(want), string(got))

			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				require.NoError(t, os.WriteFile(golden, ours, 0o644))
			}
			wantBytes, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(wantBytes), string(ours))
		})
	}
}

func kubernetesObjects() map[string]any {
	one, ttl := int32(1), int32(3600)
	yes, no := true, false
	deadline := int64(900)
	pod := corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever,
		ServiceAccountName:           "imagefactory",
		AutomountServiceAccountToken: &no,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   &yes,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:    "analyze",
			Image:   "ghcr.io/imagefactory/imagefactory:1.2.3",
			Command: []string{"/bin/sh", "-c"},
			Args:    []string{"set -eu\nimagefactory analyze \\\n  --digest \"$DIGEST\"\n", "--on", "yes", "y"},
			Env: []corev1.EnvVar{
				{Name: "DIGEST", Value: "{{args.digest}}"},
				{Name: "COUNT", Value: "10"},
				{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: "git"}, Key: "token",
				}}},
			},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("64Mi")},
			},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: "/", Port: intstr.FromInt32(8080),
			}}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no,
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
		Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	}
	job := batchv1.JobSpec{
		BackoffLimit: &one, TTLSecondsAfterFinished: &ttl, ActiveDeadlineSeconds: &deadline,
		Template: corev1.PodTemplateSpec{Spec: pod},
	}
	meta := metav1.ObjectMeta{
		Name: "promote", Namespace: "image-factory-kargo",
		Labels:      map[string]string{"app.kubernetes.io/name": "imagefactory", "number": "1", "on": "off"},
		Annotations: map[string]string{"argocd.argoproj.io/sync-wave": "-1", "note": "a: b # c"},
	}
	dated := meta
	dated.CreationTimestamp = metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return map[string]any{
		"job": &batchv1.Job{
			TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: dated, Spec: job,
		},
		"cronjob": &batchv1.CronJob{
			TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"}, ObjectMeta: meta,
			Spec: batchv1.CronJobSpec{Schedule: "0 * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job}},
		},
		"role": rbacv1.Role{
			TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta,
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
				{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}, ResourceNames: []string{"1"}},
			},
		},
		"rolebinding": rbacv1.RoleBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}, ObjectMeta: meta,
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "imagefactory"}},
			RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "promote"},
		},
		"secret": &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta,
			Data: map[string][]byte{"token": []byte("secret"), "empty": {}},
		},
	}
}

func TestConcurrentUse(t *testing.T) {
	type own struct {
		Name string          `json:"name"`
		Kids map[string]*own `json:"kids"`
	}
	in := own{"a", map[string]*own{"b": {Name: "c"}}}
	results := make(chan string)
	for range 8 {
		go func() {
			out, err := Marshal(in)
			if err != nil {
				out = []byte(err.Error())
			}
			results <- string(out)
		}()
	}
	for range 8 {
		assert.Equal(t, "name: a\nkids:\n  b:\n    name: c\n    kids: null\n", <-results)
	}
}

func BenchmarkMarshal(b *testing.B) {
	job := kubernetesObjects()["cronjob"]
	data, err := json.Marshal(job)
	require.NoError(b, err)
	var decoded map[string]any
	require.NoError(b, json.Unmarshal(data, &decoded))
	for name, in := range map[string]any{"typed": job, "decoded": decoded} {
		b.Run("yamlenc/"+name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf, _ = Append(buf[:0], in)
			}
		})
		b.Run("sigs/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = sigsyaml.Marshal(in)
			}
		})
		b.Run("v3/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = yamlv3.Marshal(in)
			}
		})
	}
}
