package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

const attributesHint = "# Written by imagefactory with LF line endings; reviews fold them."

// keepLF plans lines in .gitattributes, beside images.yaml, that have git check generated files out with LF on every
// system. What is there stays as it is, and a folder that it speaks of already is left to it.
func (plan *InitPlan) keepLF(file string, dirs ...string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %q: %w", file, err)
	}
	var lines []string
	for _, dir := range dirs {
		folder, err := below(filepath.Dir(file), dir)
		if err != nil {
			return err
		}
		if folder != "" && !hasAttributes(string(old), folder) {
			lines = append(lines, attributesPattern(folder)+" text eol=lf linguist-generated")
		}
	}
	if len(lines) == 0 {
		return nil
	}
	newline := "\n"
	if strings.Contains(string(old), "\r\n") {
		newline = "\r\n"
	}
	text := string(old)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += newline
	}
	if !strings.Contains(text, attributesHint) {
		lines = slices.Insert(lines, 0, attributesHint)
	}
	return plan.add(file, []byte(text+strings.Join(lines, newline)+newline))
}

// plainFolder has no character that means something in a pattern of git.
var plainFolder = lazy.Regexp(`^[A-Za-z0-9._/ -]+$`)

// below returns a folder as seen from another one, with slashes; empty when it is not below it, or has a name that git
// would take for a pattern.
func below(root, dir string) (string, error) {
	from, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	rel = filepath.ToSlash(rel)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") || !plainFolder().MatchString(rel) {
		return "", nil //nolint:nilerr // on another drive it is not below either
	}
	return rel, nil
}

// attributesPattern matches all files of a folder. Patterns with spaces are quoted.
func attributesPattern(folder string) string {
	pattern := "/" + folder + "/**"
	if strings.Contains(pattern, " ") {
		return `"` + pattern + `"`
	}
	return pattern
}

// hasAttributes reports whether a .gitattributes decides how the lines of files in a folder end.
func hasAttributes(text, folder string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		pattern, attributes, _ := strings.Cut(line, " ")
		if rest, quoted := strings.CutPrefix(line, `"`); quoted {
			pattern, attributes, _ = strings.Cut(rest, `"`)
		}
		ours := strings.HasPrefix(strings.TrimPrefix(pattern, "/"), folder+"/")
		all := (pattern == "*" || pattern == "**") && keepsLF(strings.Fields(attributes))
		if ours || all {
			return true
		}
	}
	return false
}

// keepsLF reports whether attributes keep git from writing CRLF.
func keepsLF(attributes []string) bool {
	return slices.ContainsFunc(attributes, func(a string) bool { return a == "eol=lf" || a == "-text" || a == "binary" })
}
