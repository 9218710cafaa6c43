// Package checkout finds the git checkout that a folder is in, and the repository behind it.
package checkout

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/config"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Checkout is a git checkout on this machine.
type Checkout struct {
	Root   string // folder that holds .git
	Origin string // https URL of the remote origin, without credentials; empty if there is none
	SSH    bool   // the remote is an ssh URL, so the port of its https URL is unknown
	Branch string // that is checked out; empty for a detached HEAD
}

// Find finds the checkout that a folder is in. It reads git's own files, so no git is needed. found is false
// when the folder is in no checkout.
func Find(dir string) (c Checkout, found bool, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return c, false, fmt.Errorf("finding checkout: %w", err)
	}
	for {
		gitDir, err := resolveGitDir(filepath.Join(dir, ".git"))
		if err == nil {
			c.Root, c.Branch = dir, branchOf(filepath.Join(dir, ".git"))
			remote, err := originOf(gitDir)
			c.Origin = HTTPSURL(remote)
			c.SSH = c.Origin != "" && !strings.HasPrefix(remote, "http")
			return c, true, err
		}
		if !errors.Is(err, os.ErrNotExist) {
			return c, false, fmt.Errorf("finding checkout: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return c, false, nil
		}
		dir = parent
	}
}

// resolveGitDir follows the file .git of a worktree or submodule to the folder that holds the configuration
// (gitrepository-layout(5): "gitdir: <path>", and commondir inside it).
func resolveGitDir(p string) (string, error) {
	target, err := ownGitDir(p)
	if err != nil {
		return "", err
	}
	if common, err := os.ReadFile(filepath.Join(target, "commondir")); err == nil {
		return filepath.Join(target, strings.TrimSpace(string(common))), nil
	}
	return target, nil
}

// ownGitDir returns the folder with the files of one worktree, such as HEAD.
func ownGitDir(p string) (string, error) {
	info, err := os.Stat(p)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return p, nil
	}
	text, err := os.ReadFile(p)
	if err != nil {
		return "", err
	}
	target, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: ")
	if !ok {
		return "", fmt.Errorf("%q is neither a folder nor a link of git", p)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(p), target)
	}
	return target, nil
}

// branchOf returns the branch that HEAD points to; "" for a detached HEAD or the reftable placeholder.
func branchOf(p string) string {
	dir, err := ownGitDir(p)
	if err != nil {
		return ""
	}
	head, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	name, ok := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: refs/heads/")
	if err != nil || !ok || name == ".invalid" {
		return ""
	}
	return name
}

// originOf returns the remote origin as git knows it.
func originOf(gitDir string) (string, error) {
	f, err := os.Open(filepath.Join(gitDir, "config"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading git configuration: %w", err)
	}
	defer f.Close()
	cfg := config.New()
	if err := config.NewDecoder(f).Decode(cfg); err != nil {
		return "", fmt.Errorf("reading git configuration %q: %w", f.Name(), err)
	}
	return cfg.Section("remote").Subsection("origin").Option("url"), nil
}

var scpForm = lazy.Regexp(`^(?:[^@/]+@)?([A-Za-z0-9][-A-Za-z0-9.]*):([^/].*)$`)

// HTTPSURL returns the https URL of a remote, without credentials: the Jobs in the cluster have tokens, not ssh keys. It
// returns "" for a remote without one, such as a local path.
func HTTPSURL(remote string) string {
	if m := scpForm().FindStringSubmatch(remote); m != nil && !strings.Contains(remote, "://") {
		return hostname.URL("https://" + m[1] + "/" + m[2])
	}
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		return ""
	}
	switch u.Scheme {
	case "http", "https":
		return hostname.URL(u.Scheme + "://" + u.Host + u.EscapedPath()) // without user, query and fragment, which can hold a token
	case "ssh", "git", "git+ssh":
		return hostname.URL("https://" + u.Hostname() + u.EscapedPath())
	}
	return ""
}
