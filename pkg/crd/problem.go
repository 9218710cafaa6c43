package crd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Problem is one error in an object.
type Problem struct {
	Object  string // kind/name
	Path    string // as spec.steps[0].uses; empty for the object as a whole
	Message string
}

// String gives the problem on one line.
func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s: %s", p.Object, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s", p.Object, p.Path, p.Message)
}

// maxMessage bounds a message: the libraries put the offending value into it, whatever its size.
const maxMessage = 1000

// report collects the problems of one object.
type report struct {
	object   string
	problems []Problem
}

func newReport(obj map[string]any) *report {
	kind, _ := obj["kind"].(string)
	meta, _ := obj["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if name == "" {
		name, _ = meta["generateName"].(string)
	}
	return &report{object: shorten(kind + "/" + name)}
}

func (r *report) add(path, message string) {
	r.problems = append(r.problems, Problem{Object: r.object, Path: shorten(path), Message: shorten(message)})
}

func (r *report) unknownField(path string) { r.add(path, "unknown field") }

func (r *report) addErrors(errs field.ErrorList) {
	for _, err := range errs {
		path := err.Field
		if path == "<nil>" { // how a path to the root prints itself
			path = ""
		}
		r.add(path, err.ErrorBody())
	}
}

// sorted returns the problems by path, each once: a library may find the same one along two ways.
func (r *report) sorted() []Problem {
	slices.SortFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(r.problems)
}

// shorten cuts s to maxMessage bytes, between characters.
func shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	n := maxMessage
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// trimJSON removes the package prefix of errors from the JSON decoder.
func trimJSON(err error) string { return strings.TrimPrefix(err.Error(), "json: ") }
