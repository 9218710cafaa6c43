package bootstrap

import (
	"bytes"
	"cmp"
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

// WorkflowsIn returns the images whose workflows imagefactory wrote into a checkout: one for each file. Where there is none, reasons
// say for each image that the repository builds why its workflow cannot be compared. It fails if the repository builds no image, or has
// no workflow for those that it builds.
func WorkflowsIn(f *fleet.Fleet, dir string) (names, reasons []string, err error) {
	co, _, err := checkout.Find(dir)
	if err != nil {
		return nil, nil, err
	}
	if co.Origin == "" {
		return nil, nil, fleet.Usagef("%q is in no git checkout with a remote origin: name the image", dir)
	}
	found, missing := map[string]string{}, "" // by file
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		if !fleet.BuiltFrom(img, co.Origin) {
			continue
		}
		file, err := WorkflowPath(f, img.Name, dir)
		if err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		switch name, _, written := ParseWorkflow(text); {
		case errors.Is(err, fs.ErrNotExist):
			missing = cmp.Or(missing, fmt.Sprintf("%q has no workflow of %s, which is %s (write it: imagefactory workflow %s --write %s)", dir, img.Name, file, img.Name, dir))
		case err != nil:
			return nil, nil, fmt.Errorf("reading the present workflow: %w", err)
		case !written:
			reasons = append(reasons, fmt.Sprintf("imagefactory did not write %s, the workflow of %s", file, img.Name))
		case found[file] == "" || name == img.Name:
			found[file] = img.Name
		}
	}
	switch {
	case len(found) > 0:
		return slices.Sorted(maps.Values(found)), nil, nil
	case missing != "":
		return nil, nil, errors.New(missing)
	case len(reasons) == 0:
		return nil, nil, fleet.Usagef("nothing to check in %q: its origin is %s, and no image of %s is built from there (enroll it, correct its source.host and source.repo, or name the image)", dir, co.Origin, f.Config.File())
	}
	return nil, reasons, nil
}
