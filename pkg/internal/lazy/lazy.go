// Package lazy defers work from the start of the program to first use: a package-level regular expression
// that is compiled at the start costs time and memory in every run, also in those that never match it.
package lazy

import (
	"regexp"
	"sync"
)

// Regexp returns a function that compiles expr the first time it is called, and panics when expr is invalid.
func Regexp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
