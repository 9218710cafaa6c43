package describe

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// content returns the content of a file, read once.
func (d *Describer) content(file string) []byte {
	if d.in.Read == nil {
		return nil
	}
	data, known := d.files[file]
	if !known {
		data = d.in.Read(file)
		d.files[file] = data
	}
	return data
}

// inState returns the place of a value below a top-level key of a state file, or else of the key. Imagefactory alone writes
// these files, so their form is known.
func (d *Describer) inState(file, key, value string) Place {
	at, inside := 0, false
	n := 0
	for line := range bytes.Lines(d.content(file)) {
		n++
		text := strings.TrimRight(string(line), "\r\n")
		top := text != "" && !strings.HasPrefix(text, " ") && !strings.HasPrefix(text, "-")
		switch {
		case top && inside:
			return Place{file, at}
		case top && (text == key+":" || strings.HasPrefix(text, key+": ")):
			at, inside = n, true
		}
		if inside && value != "" && strings.Contains(text, value) {
			return Place{file, n}
		}
	}
	return Place{file, at}
}

// inConfig returns where images.yaml sets a key for an image: in its entry, or in the defaults; nil if neither does, or if the
// file cannot be read.
func (d *Describer) inConfig(img *config.Image, key string) *Place {
	lines := d.configLines()
	if img.Line < 1 || img.Line > len(lines) {
		return nil
	}
	first := img.Line - 1
	for first > 0 && !strings.HasPrefix(strings.TrimSpace(lines[first]), "- ") {
		first--
	}
	end := blockEnd(lines, first)
	if line := keyIn(lines, first, end, key); line > 0 {
		return &Place{d.in.Config.File(), line}
	}
	if i := d.defaults; i >= 0 {
		if line := keyIn(lines, i, blockEnd(lines, i), key); line > 0 {
			return &Place{d.in.Config.File(), line}
		}
	}
	return nil
}

// configLines returns the lines of images.yaml. The first call splits them and finds the defaults.
func (d *Describer) configLines() []string {
	if d.config == nil {
		d.config = strings.Split(string(d.content(d.in.Config.File())), "\n")
		d.defaults = slices.IndexFunc(d.config, func(line string) bool { return strings.HasPrefix(line, "defaults:") })
	}
	return d.config
}

// blockEnd returns the index behind the last line of the block that a line begins: lines that are indented more.
func blockEnd(lines []string, first int) int {
	indent := indentation(lines[first])
	for i := first + 1; i < len(lines); i++ {
		if strings.TrimSpace(lines[i]) != "" && indentation(lines[i]) <= indent {
			return i
		}
	}
	return len(lines)
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// keyIn returns the number of the first line from an index up to another that sets a key, or 0.
func keyIn(lines []string, from, to int, key string) int {
	for i := from; i < to; i++ {
		text, _, _ := strings.Cut(lines[i], " #")
		for _, before := range []string{"", " ", "{", ","} {
			if before == "" && strings.HasPrefix(text, key+":") || before != "" && strings.Contains(text, before+key+":") {
				return i + 1
			}
		}
	}
	return 0
}

// usesOf returns the places where a Dockerfile uses a reference.
func usesOf(facts *state.Image, uses []state.Use) []Use {
	file := "Dockerfile"
	if facts.Dockerfile != nil {
		file = facts.Dockerfile.Path
	}
	out := make([]Use, len(uses))
	for i, u := range uses {
		out[i] = Use{Kind: u.Kind, Stage: u.Stage, Platform: u.Platform, Place: Place{cmp.Or(u.File, file), u.Line}}
	}
	return out
}
