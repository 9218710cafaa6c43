package report

import (
	"fmt"
	"io"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

// apiVersion is the version of every object for programs.
const apiVersion = "imagefactory/v1"

// Meta holds the fields that every object for programs begins with.
type Meta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// NewMeta returns the Meta of an object of a kind.
func NewMeta(kind string) Meta { return Meta{APIVersion: apiVersion, Kind: kind} }

// Object is an object for programs.
type Object interface {
	// Names returns the names of the object's items, or that of the object itself.
	Names() []string
}

// Formats lists the formats of objects for programs: indented JSON, YAML documents, and one name a line.
func Formats() []string { return []string{"json", "yaml", "name"} }

// Print prints an object in one of [Formats].
func Print(w io.Writer, format string, o Object) error {
	switch format {
	case "json":
		return JSON(w, o)
	case "yaml":
		return printYAML(w, o)
	case "name":
		for _, name := range o.Names() {
			if _, err := fmt.Fprintln(w, sanitize.Terminal(name)); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("invalid output format %q", format)
}

// printYAML prints one document of a stream.
func printYAML(w io.Writer, o Object) error {
	data, err := yamlenc.Append([]byte("---\n"), o)
	if err != nil {
		return fmt.Errorf("printing YAML: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("printing YAML: %w", err)
	}
	return nil
}
