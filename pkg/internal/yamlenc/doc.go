// Package yamlenc writes Go values as YAML: block style, two spaces of indentation, sequences under a
// mapping key not indented further, the way kubectl and sigs.k8s.io/yaml print objects. The same value
// always gives the same bytes, and YAML 1.1 and 1.2 readers both read the same values back: a string that
// either would read as another type is quoted.
//
// It exists because files with thousands of objects are written on every run, and going through JSON and a
// YAML node tree, as sigs.k8s.io/yaml does, costs most of that run. Reading YAML, comments, anchors, tags
// and flow style are left to go.yaml.in/yaml.
//
// # Values
//
// Values are encoded as encoding/json encodes them, with these differences:
//
//   - A struct field with a yaml tag takes its name and options from it, as go.yaml.in/yaml reads it: a tag
//     without a name means the lower-cased field name, and omitempty leaves out zero structs too.
//   - The option inline merges the fields of a struct, or the entries of a map, into the struct around it.
//     Map entries come last, sorted.
//   - [time.Time] is written in UTC.
//   - Map keys must be of a string kind.
//   - Strings must be valid UTF-8.
//   - The option string is an error.
package yamlenc
