package discover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
)

const (
	maxNested    = 4 // folders above a checkout: host/group/subgroup/project
	maxCheckouts = 5000
)

// Folders reads the checkouts in folders: each folder is a checkout itself, or holds checkouts.
func Folders(ctx context.Context, dirs []string, cfg *config.Config) (*Report, error) {
	var readings []*reading
	var unread []Unread
	for _, dir := range dirs {
		checkouts, err := checkoutsIn(dir, cfg)
		if err != nil {
			return nil, err
		}
		for _, c := range checkouts {
			r, err := readFolder(ctx, c, cfg)
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case err != nil:
				unread = append(unread, Unread{c, err.Error()})
			default:
				readings = append(readings, r)
			}
		}
	}
	report, err := propose(ctx, cfg, readings)
	if err == nil {
		report.Unread = unread
	}
	return report, err
}

// checkoutsIn returns the checkouts in a folder. If git made none of them, these are the folders with the names of enrolled
// repositories, as for analyze --source-dir, or else the folder itself.
func checkoutsIn(dir string, cfg *config.Config) ([]string, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("opening folder: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("opening folder: not a folder: %q", dir)
	}
	var out []string
	var visit func(dir string, depth int) error
	visit = func(dir string, depth int) error {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			out = append(out, dir)
			return nil
		}
		entries, err := os.ReadDir(dir)
		if err != nil || depth >= maxNested {
			return nil //nolint:nilerr // not readable for us
		}
		for _, e := range entries {
			if len(out) >= maxCheckouts {
				return fmt.Errorf("more than %d checkouts in %q: give a folder below it", maxCheckouts, dir)
			}
			if e.IsDir() && !slices.Contains(skipped, e.Name()) {
				if err := visit(filepath.Join(dir, e.Name()), depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := visit(dir, 0); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("opening folder: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && sourceNamed(e.Name(), cfg) != nil {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(out) == 0 {
		out = []string{dir}
	}
	return out, nil
}

// sourceNamed returns a source of images.yaml whose repository has a name, or nil.
func sourceNamed(name string, cfg *config.Config) *config.Source {
	for i := range cfg.Images {
		if s := cfg.Images[i].Source; s != nil && s.RepoName() == name {
			return s
		}
	}
	return nil
}

func readFolder(ctx context.Context, dir string, cfg *config.Config) (*reading, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	repo, err := repositoryOf(dir, f, cfg)
	if err != nil {
		return nil, err
	}
	return scan(ctx, repo, f, registryOf(repo, cfg))
}

// repositoryOf finds out which repository a checkout is of.
func repositoryOf(dir string, f *folder, cfg *config.Config) (Repository, error) {
	repo := Repository{Name: filepath.Base(dir)}
	if abs, err := filepath.Abs(dir); err == nil {
		repo.Name = filepath.Base(abs)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".git")); errors.Is(err, os.ErrNotExist) {
		if s := sourceNamed(repo.Name, cfg); s != nil {
			repo = Repository{Provider: s.Provider, Host: s.Host, Name: s.Repo, Branch: s.Branch, remote: true}
		}
		return repo, nil
	}
	c, found, err := checkout.Find(dir)
	if err != nil || !found {
		return repo, err
	}
	repo.Branch = defaultBranch(dir, c.Branch)
	origin, _ := cfg.OriginURL(c.Origin, c.SSH)
	_, rest, ok := strings.Cut(origin, "://")
	if !ok {
		return repo, nil
	}
	host, name, _ := strings.Cut(strings.TrimSuffix(strings.TrimRight(rest, "/"), ".git"), "/")
	repo.Host, repo.Name, repo.remote = host, name, name != ""
	if s := cfg.ForgeAt(host); s != nil {
		repo.Provider = s.Provider
	} else {
		repo.Provider = providerOf(host, f)
	}
	if repo.Provider == config.Git {
		repo.Name = origin
	}
	return repo, nil
}

// providerOf returns the kind of the forge of a host; for an unknown host, that of the files which only one of them reads.
func providerOf(host string, f *folder) config.Provider {
	if p := config.ProviderAt(host); p != "" {
		return p
	}
	has := func(folder string) bool {
		return slices.ContainsFunc(f.files, func(p string) bool { return path.Dir(p) == folder })
	}
	switch {
	case has(".forgejo/workflows"), has(".gitea/workflows"):
		return config.Gitea
	case slices.Contains(f.files, gitLabFile):
		return config.GitLab
	case has(".github/workflows"):
		return config.GitHub
	}
	return config.Git
}

// defaultBranch returns the branch that the remote builds from: what git noted when it cloned, else the branch that is checked out.
func defaultBranch(dir, current string) string {
	head, err := os.ReadFile(filepath.Join(dir, ".git", "refs", "remotes", "origin", "HEAD"))
	if name, ok := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: refs/remotes/origin/"); err == nil && ok {
		return name
	}
	return current
}

// registryOf returns the registry of a GitLab host: that of gitlab.com, or the one that all images with a source on the host have.
func registryOf(repo Repository, cfg *config.Config) string {
	if repo.Provider != config.GitLab {
		return ""
	}
	if repo.Host == config.HomeHost(config.GitLab) {
		return "registry.gitlab.com"
	}
	found := ""
	for i := range cfg.Images {
		img := &cfg.Images[i]
		if img.Source == nil || img.Source.Host != repo.Host {
			continue
		}
		if found != "" && found != img.Registry {
			return ""
		}
		found = img.Registry
	}
	return found
}
