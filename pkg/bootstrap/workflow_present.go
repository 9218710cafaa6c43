package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/shlex"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// The first line of a workflow holds the command that wrote it, so that it can be compared and written again later.
const (
	headerStart = "# Written by `imagefactory workflow "
	headerEnd   = "`, from images.yaml. To change it, change the entry and write it again."
)

// header returns the first line of the workflow of an image.
func (o *WorkflowOptions) header(name string) (string, error) {
	words := []string{name, "--release", o.Release}
	if o.Commit != "" {
		words = append(words, "--commit", o.Commit)
	}
	if o.Context != "." {
		words = append(words, "--context", o.Context)
	}
	for _, tag := range o.Tags {
		words = append(words, "--tag", tag)
	}
	for i, word := range words {
		if strings.ContainsAny(word, "\r\n") {
			return "", fleet.Usagef("invalid tag or folder %q: it contains a line break", word)
		}
		if word == "" || strings.Trim(word, plainCharacters) != "" {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return headerStart + strings.Join(words, " ") + headerEnd, nil
}

// plainCharacters need no quotes in a command line.
const plainCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:"

// ParseWorkflow returns the image and the options with which imagefactory wrote a workflow, and the versions that its actions have
// now. ok is false if another program or a person wrote it.
func ParseWorkflow(text []byte) (name string, o WorkflowOptions, ok bool) {
	line, rest, _ := strings.Cut(strings.ReplaceAll(string(bytes.TrimSpace(text)), "\r\n", "\n"), "\n")
	line, written := strings.CutPrefix(line, headerStart)
	if i := strings.LastIndex(line, headerEnd); i >= 0 {
		line = line[:i]
	}
	words, err := shlex.Split(line)
	if !written || err != nil || len(words) == 0 {
		return "", o, written
	}
	name, o.Context = words[0], "."
	for i := 1; i+1 < len(words); i += 2 {
		switch value := words[i+1]; words[i] {
		case "--release":
			o.Release = value
		case "--commit":
			if commitForm().MatchString(value) {
				o.Commit = value
			}
		case "--context":
			o.Context = value
		case "--tag":
			o.Tags = append(o.Tags, value)
		}
	}
	o.actions = map[string]string{}
	for _, m := range usesLine().FindAllStringSubmatch(rest, -1) {
		o.actions[strings.TrimPrefix(m[1], gitHubActions)] = m[2]
	}
	return name, o, true
}

var commitForm = lazy.Regexp(`^[0-9a-f]{40}$`)

// usesLine is a step that uses an action: its name, and its version with the comment beside.
var usesLine = lazy.Regexp(`(?m)^ *(?:- )?uses: ([^\s@=]+)@([^\s=]+(?: # \S+)?)$`)

// WorkflowsIn returns the images whose workflows imagefactory wrote into a checkout: one for each file.
func WorkflowsIn(f *fleet.Fleet, dir string) ([]string, error) {
	co, _, err := checkout.Find(dir)
	if err != nil {
		return nil, err
	}
	if co.Origin == "" {
		return nil, fleet.Usagef("%q is in no git checkout with a remote origin: name the image", dir)
	}
	found := map[string]string{} // by file
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		file, err := WorkflowPath(f, img.Name, dir)
		if err != nil || !fleet.BuiltFrom(img, co.Origin) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the present workflow: %w", err)
		}
		if name, _, written := ParseWorkflow(text); written && (found[file] == "" || name == img.Name) {
			found[file] = img.Name
		}
	}
	return slices.Sorted(maps.Values(found)), nil
}
