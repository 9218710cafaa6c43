package history_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/history"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// repository is a checkout, with the files below state as each commit left them.
type repository struct {
	dir     string
	git     *git.Repository
	commits []map[string]string
}

func newRepository(t require.TestingT, dir string) *repository {
	repo, err := git.PlainInit(dir, false)
	require.NoError(t, err)
	return &repository{dir: dir, git: repo}
}

// commit writes files, removes those of empty content, and commits everything.
func (r *repository) commit(t require.TestingT, at time.Time, files map[string]string) {
	tree, err := r.git.Worktree()
	require.NoError(t, err)
	now := map[string]string{}
	if n := len(r.commits); n > 0 {
		maps.Copy(now, r.commits[n-1])
	}
	for name, text := range files {
		path := filepath.Join(r.dir, "fleet", "state", name)
		if text == "" {
			require.NoError(t, os.RemoveAll(path))
			delete(now, name)
		} else {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			now[name] = text
		}
	}
	require.NoError(t, tree.AddWithOptions(&git.AddOptions{All: true}))
	who := &object.Signature{Name: "a", Email: "a@example.com", When: at}
	_, err = tree.Commit("x", &git.CommitOptions{Author: who, Committer: who, AllowEmptyCommits: true})
	require.NoError(t, err)
	r.commits = append(r.commits, now)
}

// read returns the versions as FILE CONTENT HOUR, in the order in which they come; those of one commit are sorted.
func (r *repository) read(t require.TestingT, since time.Time) ([]string, history.Range) {
	var seen []string
	at := time.Time{}
	var same []string
	flush := func() {
		slices.Sort(same)
		seen, same = append(seen, same...), nil
	}
	read, err := history.Read(context.Background(), filepath.Join(r.dir, "fleet", "state"), []string{"images", "base-images"}, since, func(v history.Version) error {
		if !v.At.Equal(at) {
			flush()
		}
		at = v.At
		same = append(same, fmt.Sprintf("%s %s %d", v.File, v.Data, int(v.At.Sub(begin).Hours())))
		return nil
	})
	flush()
	require.NoError(t, err)
	return seen, read
}

func hours(n int) time.Time { return begin.Add(time.Duration(n) * time.Hour) }

func TestRead(t *testing.T) {
	r := newRepository(t, t.TempDir())
	_, read := r.read(t, begin)
	assert.Zero(t, read, "a repository without a commit")
	r.commit(t, hours(0), map[string]string{"../images.yaml": "x"})
	r.commit(t, hours(1), map[string]string{"images/web.yaml": "1", "images/app.yaml": "1", "base-images/node.yaml": "1", "archive/images/old.yaml": "1"})
	r.commit(t, hours(2), map[string]string{"../images.yaml": "y"})
	r.commit(t, hours(3), map[string]string{"images/web.yaml": "2", "images/app.yaml": ""})
	r.commit(t, hours(5), map[string]string{"images/web.yaml": "1"})
	r.commit(t, hours(4), map[string]string{"base-images/node.yaml": "2"}) // by a clock that is behind

	seen, read := r.read(t, begin)
	assert.Equal(t, []string{
		"base-images/node.yaml 2 4", "images/web.yaml 1 4", "images/web.yaml 2 3",
		"base-images/node.yaml 1 1", "images/app.yaml 1 1", "images/web.yaml 1 1",
	}, seen)
	assert.Equal(t, history.Range{Commits: 6, From: hours(0), Complete: true, Began: hours(1)}, read)

	seen, read = r.read(t, hours(3))
	assert.Equal(t, []string{
		"base-images/node.yaml 2 4", "images/web.yaml 1 4", "images/web.yaml 2 3",
		"base-images/node.yaml 1 2", "images/web.yaml 1 2", // before the period
	}, seen)
	assert.Equal(t, history.Range{Commits: 3, From: hours(3), Complete: true}, read)

	// A shallow clone.
	head, err := r.git.Head()
	require.NoError(t, err)
	require.NoError(t, r.git.Storer.SetShallow([]plumbing.Hash{head.Hash()}))
	parent, err := r.git.CommitObject(head.Hash())
	require.NoError(t, err)
	object := parent.ParentHashes[0].String()
	require.NoError(t, os.Remove(filepath.Join(r.dir, ".git", "objects", object[:2], object[2:])))
	seen, read = r.read(t, begin)
	assert.Contains(t, seen, "images/web.yaml 1 4")
	assert.Equal(t, history.Range{Commits: 1, From: hours(4)}, read)
}

// object returns the file of an object of the repository, such as HEAD~1 or HEAD:fleet/state/images.
func (r *repository) object(t *testing.T, commit plumbing.Hash, path string) string {
	c, err := r.git.CommitObject(commit)
	require.NoError(t, err)
	hash := c.Hash
	if path != "" {
		tree, err := c.Tree()
		require.NoError(t, err)
		entry, err := tree.FindEntry(path)
		require.NoError(t, err)
		hash = entry.Hash
	}
	return filepath.Join(r.dir, ".git", "objects", hash.String()[:2], hash.String()[2:])
}

// TestDamaged: a version that cannot be read is counted, and history ends at a commit that cannot be read.
func TestDamaged(t *testing.T) {
	r := newRepository(t, t.TempDir())
	var commits []plumbing.Hash
	for i := range 4 {
		r.commit(t, hours(i), map[string]string{"images/web.yaml": strconv.Itoa(i)})
		head, err := r.git.Head()
		require.NoError(t, err)
		commits = append(commits, head.Hash())
	}
	for _, damage := range []func(file string){
		func(file string) { require.NoError(t, os.Remove(file)) },
		func(file string) {
			require.NoError(t, os.Chmod(file, 0o600))
			require.NoError(t, os.WriteFile(file, []byte("damaged"), 0o600))
		},
	} {
		check := func(file string, want []string, expect history.Range) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			damage(file)
			seen, read := r.read(t, begin)
			assert.Equal(t, want, seen)
			assert.Equal(t, expect, read)
			_ = os.Chmod(file, 0o600) // it may be missing
			require.NoError(t, os.WriteFile(file, content, 0o600))
		}
		check(r.object(t, commits[1], "fleet/state/images/web.yaml"), []string{"images/web.yaml 3 3", "images/web.yaml 2 2", "images/web.yaml 0 0"},
			history.Range{Commits: 4, From: hours(0), Complete: true, Began: hours(0), Unread: 1})
		for _, path := range []string{"", "fleet", "fleet/state/images"} {
			check(r.object(t, commits[1], path), []string{"images/web.yaml 3 3", "images/web.yaml 2 2"}, history.Range{Commits: 2, From: hours(2)})
		}
	}
}

// TestMerge: history goes on where a merge has the files from.
func TestMerge(t *testing.T) {
	r := newRepository(t, t.TempDir())
	r.commit(t, hours(0), map[string]string{"images/web.yaml": "0"})
	head, err := r.git.Head()
	require.NoError(t, err)
	first := head.Hash()
	for i := 1; i < 4; i++ {
		r.commit(t, hours(i), map[string]string{"images/web.yaml": strconv.Itoa(i)})
	}
	head, err = r.git.Head()
	require.NoError(t, err)
	tree, err := r.git.Worktree()
	require.NoError(t, err)
	who := &object.Signature{Name: "a", Email: "a@example.com", When: hours(4)}
	_, err = tree.Commit("merge", &git.CommitOptions{Author: who, Committer: who, AllowEmptyCommits: true, Parents: []plumbing.Hash{first, head.Hash()}})
	require.NoError(t, err)
	seen, read := r.read(t, begin)
	assert.Equal(t, []string{"images/web.yaml 3 3", "images/web.yaml 2 2", "images/web.yaml 1 1", "images/web.yaml 0 0"}, seen)
	assert.Equal(t, history.Range{Commits: 5, From: hours(0), Complete: true, Began: hours(0)}, read)
}

// TestFolder: a link to the folder is followed; of a folder that git does not have, nothing is known.
func TestFolder(t *testing.T) {
	r := newRepository(t, t.TempDir())
	r.commit(t, hours(0), map[string]string{"images/web.yaml": "0"})
	link := filepath.Join(r.dir, "link")
	require.NoError(t, os.Symlink(filepath.Join("fleet", "state"), link))
	count := 0
	fn := func(history.Version) error { count++; return nil }
	read, err := history.Read(context.Background(), link, []string{"images"}, begin, fn)
	require.NoError(t, err)
	assert.Equal(t, history.Range{Commits: 1, From: hours(0), Complete: true, Began: hours(0)}, read)
	assert.Equal(t, 1, count)

	read, err = history.Read(context.Background(), filepath.Join(r.dir, "fleet"), []string{"images"}, begin, fn)
	require.NoError(t, err)
	assert.Zero(t, read)
}

func TestNoCheckout(t *testing.T) {
	read, err := history.Read(context.Background(), t.TempDir(), []string{"images"}, begin, func(history.Version) error { return nil })
	require.NoError(t, err)
	assert.Zero(t, read)
}

// TestEveryVersion: any sequence of commits is read back.
func TestEveryVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "history")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		r := newRepository(t, dir)
		want := map[string]int{}
		for n := range rapid.IntRange(1, 8).Draw(t, "commits") {
			files := map[string]string{}
			for range rapid.IntRange(0, 3).Draw(t, "files") {
				name := rapid.SampledFrom([]string{"images/a.yaml", "images/b.yaml", "base-images/a.yaml", "images/c/d.yaml"}).Draw(t, "name")
				files[name] = rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "text")
			}
			before := map[string]string{}
			if n > 0 {
				before = r.commits[n-1]
			}
			r.commit(t, hours(n), files)
			for name, text := range files {
				if text != "" && before[name] != text && name != "images/c/d.yaml" {
					want[fmt.Sprintf("%s %s %d", name, text, n)]++
				}
			}
		}
		seen, _ := r.read(t, begin)
		got := map[string]int{}
		for _, v := range seen {
			got[v]++
		}
		assert.Equal(t, want, got)
	})
}
