package discover

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Repository is where a tree comes from. Its zero value is a folder without a remote.
type Repository struct {
	Provider config.Provider `json:"provider,omitempty"`
	Host     string          `json:"host,omitempty"`
	Name     string          `json:"name"` // owner/repo, or the folder if that is not known
	Branch   string          `json:"branch,omitempty"`

	remote bool // Name is that of the forge
}

// Problem is what could not be read, or not be followed.
type Problem struct {
	Repository string `json:"repository"`
	Place
	Message string `json:"message"`
}

// scanner reads one repository.
type scanner struct {
	ctx      context.Context //nolint:containedctx // of one call of scan
	repo     Repository
	registry string // of a GitLab host; "" if it is not known
	tree     Tree
	files    map[string]bool
	marks    *marks
	budget   int // statements of scripts
	reads    int
	contents map[string][]byte
	builds   []*build
	problems []Problem
	failed   error // of the tree: the rest of the repository is not read
}

func newScanner(ctx context.Context, repo Repository, tree Tree) *scanner {
	s := &scanner{ctx: ctx, repo: repo, tree: tree, files: map[string]bool{}, marks: &marks{}, budget: maxCommands, contents: map[string][]byte{}}
	for _, f := range tree.Files() {
		s.files[f] = true
	}
	return s
}

func (s *scanner) has(file string) bool { return s.files[file] }

// read returns the content of a file, nil if it cannot be read, which is a problem then.
func (s *scanner) read(file string, limit int64) []byte {
	if text, ok := s.contents[file]; ok {
		return text
	}
	if s.failed != nil {
		return nil
	}
	if s.reads++; s.reads > maxReads {
		if s.reads == maxReads+1 {
			s.problem(Place{File: file}, "more than 500 files to read; this one and others are left out")
		}
		return nil
	}
	text, err := s.tree.Read(s.ctx, file, limit)
	var fatal *unreadError
	switch {
	case errors.As(err, &fatal):
		s.failed = err
		return nil
	case err != nil:
		s.problem(Place{File: file}, err.Error())
		return nil
	case strings.ContainsAny(string(text), markStart+markEnd):
		s.problem(Place{File: file}, "contains control characters")
		return nil
	}
	s.contents[file] = text
	return text
}

// unreadError is an error because of which a repository is read later: a rate limit, or a server in trouble.
type unreadError struct{ err error }

func (e *unreadError) Error() string { return e.err.Error() }
func (e *unreadError) Unwrap() error { return e.err }

func (s *scanner) problem(at Place, message string) {
	p := Problem{s.repo.Name, at, message}
	if len(s.problems) < 200 && !slices.Contains(s.problems, p) {
		s.problems = append(s.problems, p)
	}
}

// script reads a script with a shell.
func (s *scanner) script(sh *shell, file, text string) {
	if err := sh.script(text); err != nil {
		s.problem(Place{file, sh.line + 1}, err.Error())
	}
}

// workflowFiles returns the files of workflows, in the first folder that has one.
func (s *scanner) workflowFiles() []string {
	for _, folder := range s.repo.Provider.WorkflowFolders() {
		var out []string
		for _, f := range s.tree.Files() {
			if dir, name := path.Split(f); dir == folder+"/" && (strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml")) {
				out = append(out, f)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// dockerfiles returns the files that look like Dockerfiles by their names.
func dockerfiles(files []string) []string {
	var out []string
	for _, f := range files {
		if isDockerfile(path.Base(f)) {
			out = append(out, f)
		}
	}
	return out
}

func isDockerfile(name string) bool {
	lower := strings.ToLower(name)
	for _, kind := range []string{"dockerfile", "containerfile"} {
		switch rest, prefixed := strings.CutPrefix(lower, kind+"."); {
		case lower == kind || strings.HasSuffix(lower, "."+kind):
			return true
		case prefixed:
			return !slices.Contains([]string{"dockerignore", "md", "txt", "j2", "tmpl", "tpl", "template", "erb", "in", "go", "py", "sh", "ts", "js", "json", "yml", "yaml", "bak", "orig", "rej"}, path.Ext("." + rest)[1:])
		}
	}
	return false
}
