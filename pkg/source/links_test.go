package source_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

func TestGitHubSymlinkIsNeverStale(t *testing.T) {
	for name, linkFirst := range map[string]bool{"link first": true, "file first": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, config.GitHub)
			if linkFirst {
				w.repo.Link("Dockerfile", "build/Dockerfile") // at that commit it leads nowhere
			}
			w.repo.Commit("build/Dockerfile", "FROM node:20\n")
			if !linkFirst {
				w.repo.Link("Dockerfile", "build/Dockerfile") // at that commit it leads to what is old now
			}
			known := source.Known{}
			for _, want := range []string{"FROM node:22\n", "FROM node:24\n"} {
				commit := w.repo.Commit("build/Dockerfile", want)
				f, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), known)
				require.NoError(t, err)
				assert.Equal(t, want, string(f.Content))
				assert.Equal(t, commit, f.Commit, "where the content is, not where the link was made")
				known = source.Known{Commit: f.Commit, Digest: digest(want)}
			}
			seen := len(w.Requests(""))
			_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), known)
			require.NoError(t, err)
			assert.Equal(t, []string{"GET 304"}, w.asked(&seen))
		})
	}
}

// before does something before requests whose URL holds a text are sent.
type before struct {
	text string
	do   func()
}

// RoundTrip implements http.RoundTripper.
func (b before) RoundTrip(q *http.Request) (*http.Response, error) {
	if strings.Contains(q.URL.String(), b.text) {
		b.do()
	}
	return http.DefaultTransport.RoundTrip(q)
}

func TestPushBetweenRequests(t *testing.T) {
	w := newWorld(t, config.GitHub)
	w.repo.Commit("Dockerfile", "FROM node:22\n")
	pushed := ""
	w.transport = before{"/commits?", func() {
		if pushed == "" {
			pushed = w.repo.Commit("Dockerfile", "FROM node:24\n")
		}
	}}
	f, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
	require.NoError(t, err)
	assert.Equal(t, "FROM node:24\n", string(f.Content))
	assert.Equal(t, pushed, f.Commit)

	w.cacheDir = ""
	w.transport = before{"/commits?", func() { w.repo.Delete("Dockerfile") }}
	_, err = w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
	require.ErrorContains(t, err, "was it moved or deleted?")
}

func TestNamesAreEscaped(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		const branch, path = "release/1 ü#?&%2f", "apps/ä b/100%/Dockerfile+x;y=z&#1?"
		w.repo.Branch = branch
		commit := w.repo.Commit(path, "FROM node:22\n")
		for _, written := range []string{path, "./apps//ä b/100%/Dockerfile+x;y=z&#1?"} {
			img := w.image(written)
			img.Source.Branch = branch
			f, err := w.run().Dockerfile(t.Context(), img, source.Known{})
			require.NoError(t, err)
			assert.Equal(t, commit, f.Commit)
		}
		img := w.image("none")
		img.Source.Branch = branch
		_, err := w.run().Dockerfile(t.Context(), img, source.Known{})
		require.ErrorContains(t, err, "was it moved or deleted?", "the branch is found under its name")
	})
}

func TestInterruptedRequestIsRepeated(t *testing.T) {
	eachForge(t, func(t *testing.T, w *world) {
		w.repo.Commit("Dockerfile", "FROM node:22\n")
		run := w.run()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := run.Dockerfile(ctx, w.image("Dockerfile"), source.Known{})
		require.ErrorIs(t, err, context.Canceled)
		_, err = run.Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
		require.NoError(t, err)
	})
}

func TestEmptyRepository(t *testing.T) {
	w := newWorld(t, config.GitHub)
	w.repo.Branch = "" // a branch that nobody has pushed yet
	_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
	require.ErrorContains(t, err, `no branch "main" in the repository: check source.branch`)
}

func TestContentWithWrongDigestIsRejected(t *testing.T) {
	w := newWorld(t, config.GitLab)
	w.Fail(forgetest.Fault{
		Match: "GET", Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"size":1,"content":"QQ==","content_sha256":"` + strings.Repeat("0", 64) + `","last_commit_id":"` + strings.Repeat("a", 40) + `"}`,
	})
	_, err := w.run().Dockerfile(t.Context(), w.image("Dockerfile"), source.Known{})
	require.ErrorContains(t, err, "the digest does not match the content")
}
