// Package store keeps the state of a fleet: in a folder on this machine, or in a git repository on a server.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Store opens a fleet and saves changes of its state.
type Store interface {
	// Update opens the fleet, calls do to change its state in memory, and saves the change. If another writer changed the
	// state in the meantime, the change is discarded and do is called again with the newer fleet. A nil change, or one
	// without changed files, saves nothing.
	Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (Saved, error)
}

// View opens the fleet of a [Store] without changing anything.
func View(ctx context.Context, store Store) (*fleet.Fleet, error) {
	var f *fleet.Fleet
	_, err := store.Update(ctx, func(_ context.Context, opened *fleet.Fleet) (*fleet.Change, error) {
		f = opened
		return nil, nil
	})
	return f, err
}

// Saved is the result of [Store.Update].
type Saved struct {
	Files  int    // number of state files written
	Commit string // pushed commit; empty for a folder, or if nothing was pushed
	Where  string // folder or repository, for display
}

// Folder is a [Store] in a local folder.
type Folder struct {
	Paths   fleet.Paths
	Partial bool // open the fleet without state files that cannot be read, instead of failing
}

// rest returns the rest of a fleet with state files that cannot be read, if partial.
func rest(f *fleet.Fleet, err error, partial bool) (*fleet.Fleet, error) {
	var unread *fleet.StateError
	if partial && errors.As(err, &unread) {
		return unread.Rest, nil
	}
	return f, err
}

// maxRaces bounds how often a change is computed again because another process wrote to the folder. The second attempt holds
// the lock, so more are only needed on file systems without locks.
const maxRaces = 20

// saveTimeout is how long an interrupted command waits for the lock of the folder.
const saveTimeout = 10 * time.Second

// Update implements [Store]. A change that lost a race against another process is computed again while the folder is
// locked.
func (s Folder) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (Saved, error) {
	for race := range maxRaces {
		saved, written, err := s.try(ctx, do, race > 0)
		if err != nil || written {
			return saved, err
		}
	}
	return Saved{}, fmt.Errorf("writing state: other processes kept changing %s", s.Paths.StateDir)
}

// try computes a change and writes it. It writes nothing if the folder was changed in the meantime.
func (s Folder) try(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error), locked bool) (_ Saved, written bool, err error) {
	if locked {
		unlock, err := s.lock(ctx)
		if err != nil {
			return Saved{}, false, err
		}
		defer unlock()
	}
	f, err := fleet.Open(s.Paths)
	if f, err = rest(f, err, s.Partial); err != nil {
		return Saved{}, false, err
	}
	c, err := do(ctx, f)
	if err != nil || c == nil {
		return Saved{}, err == nil, err
	}
	saved := Saved{Files: len(c.Changed), Where: s.Paths.StateDir}
	if len(c.After) == 0 {
		return saved, true, nil
	}
	if !locked {
		if ctx.Err() != nil { // results so far are saved if the lock is free soon
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
			defer cancel()
		}
		unlock, err := s.lock(ctx)
		if err != nil {
			return Saved{}, false, err
		}
		defer unlock()
	}
	written, err = s.write(c)
	return saved, written, err
}

func (s Folder) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.Paths.StateDir, 0o755); err != nil {
		return nil, fmt.Errorf("creating state folder: %w", err)
	}
	return lock(ctx, s.Paths.StateDir)
}

// write writes a change to the locked folder, unless its files differ from those that the change was computed from.
func (s Folder) write(c *fleet.Change) (written bool, err error) {
	now, err := fleet.ReadState(s.Paths)
	if err != nil && (now == nil || !s.Partial) {
		return false, err
	}
	files, err := now.Encode()
	if err != nil || len(state.Changed(c.Before, files)) > 0 {
		return false, err
	}
	if err := state.RemoveLeftovers(s.Paths.StateDir); err != nil {
		return false, err
	}
	return true, state.WriteFiles(s.Paths.StateDir, c.After)
}

// Repository is a [Store] in a shared git repository. Each change is pushed as one commit.
type Repository struct {
	Repo      *gitrepo.Repo
	StatePath string // of the state folder
	Config    string // path of images.yaml
	ConfigRef string // branch or tag that images.yaml is read from; empty for the branch of the state
	Partial   bool   // open the fleet without state files that cannot be read, instead of failing
}

// Update implements [Store].
func (s *Repository) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (Saved, error) {
	saved := Saved{}
	result, err := s.Repo.Update(ctx, func(ctx context.Context, t gitrepo.Tree) (gitrepo.Change, error) {
		f, err := s.open(ctx, t)
		if f, err = rest(f, err, s.Partial); err != nil {
			return gitrepo.Change{}, err
		}
		c, err := do(ctx, f)
		if err != nil || c == nil || len(c.After) == 0 {
			return gitrepo.Change{}, err
		}
		files := make(map[string][]byte, len(c.After))
		for p, data := range c.After {
			files[path.Join(s.StatePath, p)] = data
		}
		saved.Files = len(c.Changed)
		return gitrepo.Change{Files: files, Message: c.Message()}, nil
	})
	if err != nil {
		return Saved{}, err
	}
	if !result.Pushed {
		return Saved{Where: s.Repo.String()}, nil
	}
	saved.Commit, saved.Where = result.Commit, s.Repo.String()
	return saved, nil
}

func (s *Repository) open(ctx context.Context, t gitrepo.Tree) (*fleet.Fleet, error) {
	files, err := fs.Sub(t.FS, s.StatePath)
	if err != nil {
		return nil, fmt.Errorf("opening state folder %q: %w", s.StatePath, err)
	}
	return fleet.OpenFS(fleet.Paths{Config: s.Config, StateDir: s.StatePath}, files, func() (*config.Config, error) {
		from := t.FS
		if s.ConfigRef != "" {
			var err error
			if from, err = s.Repo.FS(ctx, s.ConfigRef); err != nil {
				return nil, fmt.Errorf("reading %q at %q: %w", s.Config, s.ConfigRef, err)
			}
		}
		data, err := fs.ReadFile(from, s.Config)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading images.yaml: no file %q in %s%s (commit and push it, or set --config and --config-ref)",
				s.Config, s.Repo, atRef(s.ConfigRef))
		}
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", s.Config, err)
		}
		cfg, err := config.Load(bytes.NewReader(data), s.Config)
		if err != nil {
			return nil, err
		}
		folder, err := fs.Sub(from, path.Dir(s.Config))
		if err != nil {
			return nil, fmt.Errorf("opening the folder of %q: %w", s.Config, err)
		}
		cfg.SetFolder(folder)
		return cfg, nil
	})
}

func atRef(ref string) string {
	if ref == "" {
		return ""
	}
	return " at " + ref
}
