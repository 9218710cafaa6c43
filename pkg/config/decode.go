package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// decoder decodes YAML nodes into Go values and rejects unknown keys. It continues after an error, so that one run reports all
// problems.
type decoder struct {
	file     string
	added    map[*yaml.Node]bool // nodes of entries that are not in the file
	source   string              // file that they are in; "" if they have no positions
	findings finding.List
	fields   map[reflect.Type]structFields
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, fields: map[reflect.Type]structFields{}}
}

func (d *decoder) add(rule finding.Rule, n *yaml.Node, message, fix string) {
	if n == nil { // the value is not in the entry itself, such as a default
		n = &yaml.Node{Line: 1, Column: 1}
	}
	file, line, column := d.file, n.Line, n.Column
	if d.added[n] && d.source != "" {
		file = d.source
	} else if d.added[n] {
		line, column = 0, 0
	}
	d.findings = append(d.findings, rule.At(file, line, column, message, fix))
}

// scalarOrMapping is implemented by types that accept a scalar as the short form of their mapping.
type scalarOrMapping interface{ setScalar(string) }

// nodeDecoder is implemented by types that accept several forms.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, path string)
}

func (d *decoder) decodeInto(n *yaml.Node, into any, path string) {
	d.decode(n, reflect.ValueOf(into).Elem(), path)
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	if n.Tag == "!!null" {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		known := len(d.findings)
		d.decode(n, v.Elem(), path)
		if len(d.findings) > known && v.Elem().Kind() != reflect.Struct {
			v.SetZero() // already reported: validation skips it
		}
		return
	}
	if s, ok := v.Addr().Interface().(scalarOrMapping); ok && n.Kind == yaml.ScalarNode {
		s.setScalar(n.Value)
		return
	}
	if t, ok := v.Addr().Interface().(nodeDecoder); ok {
		t.decodeNode(d, n, path)
		return
	}
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if d.want(n, yaml.ScalarNode, path, "a plain value") {
			if err := t.UnmarshalText([]byte(n.Value)); err != nil {
				d.add(finding.BadValue, n, fmt.Sprintf("%s: %v", path, err), "")
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if d.want(n, yaml.MappingNode, path, "a mapping") {
			d.decodeStruct(n, v, path)
		}
	case reflect.Map:
		if d.want(n, yaml.MappingNode, path, "a mapping") {
			d.decodeMap(n, v, path)
		}
	case reflect.Slice:
		if d.want(n, yaml.SequenceNode, path, "a list") {
			v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
			first := 0 // index in its own file
			for i, item := range n.Content {
				if first == 0 && d.added[item] && !d.added[n] {
					first = i
				}
				d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i-first))
			}
		}
	case reflect.String:
		if d.want(n, yaml.ScalarNode, path, "a string") {
			v.SetString(n.Value)
		}
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || err != nil {
			d.add(finding.BadValue, n, fmt.Sprintf("%s: want true or false, not %s", path, describe(n)), "")
			return
		}
		v.SetBool(b)
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			d.add(finding.BadValue, n, fmt.Sprintf("%s: want a whole number, not %s", path, describe(n)), "")
			return
		}
		v.SetInt(int64(i))
	default:
		panic("config: no decoding for " + v.Type().String())
	}
}

func (d *decoder) want(n *yaml.Node, kind yaml.Kind, path, what string) bool {
	if n.Kind == kind {
		return true
	}
	d.add(finding.BadValue, n, fmt.Sprintf("%s: want %s, not %s", path, what, describe(n)), "")
	return false
}

func (d *decoder) decodeStruct(n *yaml.Node, v reflect.Value, path string) {
	fields := d.fieldsOf(v.Type())
	d.eachPair(n, path, func(key, value *yaml.Node) {
		i, ok := fields.index[key.Value]
		if !ok {
			d.add(finding.UnknownKey, key, fmt.Sprintf("unknown key %q in %s", key.Value, orFile(path)), d.keyHint(key.Value, v.Type()))
			return
		}
		d.decode(value, v.Field(i), join(path, key.Value))
	})
}

func (d *decoder) decodeMap(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	d.eachPair(n, path, func(key, value *yaml.Node) {
		item := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, item, join(path, key.Value))
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
}

func (d *decoder) eachPair(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.add(finding.BadValue, key, fmt.Sprintf("%s: a key must be a plain value", path), "")
			continue
		}
		if line, dup := seen[key.Value]; dup {
			d.add(finding.Duplicate, key, fmt.Sprintf("duplicate key %q in %s (first on line %d)", key.Value, orFile(path), line), "")
			continue
		}
		seen[key.Value] = key.Line
		f(key, value)
	}
}

type structFields struct {
	index map[string]int
	names []string
}

func (d *decoder) fieldsOf(t reflect.Type) structFields {
	if f, ok := d.fields[t]; ok {
		return f
	}
	f := structFields{index: make(map[string]int, t.NumField())}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		f.index[name] = i
		f.names = append(f.names, name)
	}
	d.fields[t] = f
	return f
}

// keyHint is hint for a key of a struct. A key that one of its fields knows belongs one level deeper.
func (d *decoder) keyHint(key string, t reflect.Type) string {
	fields := d.fieldsOf(t)
	for _, name := range fields.names {
		inner := t.Field(fields.index[name]).Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct {
			continue
		}
		if _, known := d.fieldsOf(inner).index[key]; known {
			return fmt.Sprintf("did you mean %q?", name+"."+key)
		}
	}
	return hint(key, fields.names)
}

// suggest returns a "did you mean" hint with the known name closest to got, or else the list of known names.
func suggest(got string, known []string) string {
	best, bestDistance := "", 1+len(got)/3+1
	for _, k := range known {
		if dist := levenshtein.Distance(strings.ToLower(got), strings.ToLower(k), nil); dist < bestDistance {
			best, bestDistance = k, dist
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "valid: " + strings.Join(known, ", ")
}

// hint is suggest for keys of a mapping, with an explanation for YAML's merge key.
func hint(key string, known []string) string {
	if key == "<<" {
		return "merge keys are not supported; put shared values into `defaults`"
	}
	return suggest(key, known)
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(n.Value)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
