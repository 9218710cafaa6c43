// Package buildfile reads Docker Bake files, in HCL and JSON, and Compose files: from which Dockerfile, context, arguments, stage,
// contexts and platforms a target or a service is built. It evaluates what the text alone determines, as `docker buildx bake`
// does, within limits: no environment, no network, no clock. What it cannot evaluate is an [Expression] with its place. Which
// file is read, and from where, is left to its callers.
package buildfile

import "fmt"

// Expression is a part of a file whose value the file does not determine.
type Expression struct {
	Text         string // as written, in one line; ${NAME} for a variable
	Line, Column int    // 1-based; 0 if unknown
	Why          string // "" if the text says it
}

// Options are how the expressions of a file are evaluated.
type Options struct {
	// Env returns the value of a variable of the environment; nil if there are none.
	Env func(name string) (string, bool)
	// Unknown returns the text that stands for an expression in the values that depend on it.
	Unknown func(Expression) string
	// Strict replaces a value completely if any part of it, or a condition, depends on an unknown expression. Otherwise only
	// the part is replaced, and unknown conditions are decided as if the variable had some value.
	Strict bool
}

func (o *Options) env(name string) (string, bool) {
	if o.Env == nil {
		return "", false
	}
	return o.Env(name)
}

// Error is the reason why a target or a service of a file cannot be read.
type Error struct {
	File         string
	Line, Column int // 1-based; 0 if unknown
	Message      string
}

// Error implements error: it returns the message with its place.
func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return e.File + ": " + e.Message
	case e.Column == 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}
