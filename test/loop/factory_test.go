package loop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// factory is a checkout with images.yaml and state, in which imagefactory runs as a program.
type factory struct {
	t   *testing.T
	dir string
	now time.Time
	env []string
}

// newFactory returns a factory whose clock starts at the present hour.
func newFactory(t *testing.T) *factory {
	return &factory{t: t, dir: t.TempDir(), now: time.Now().UTC().Truncate(time.Hour)}
}

func (f *factory) later(by time.Duration) { f.now = f.now.Add(by) }

// write writes a file of the checkout.
func (f *factory) write(path, text string) string {
	f.t.Helper()
	file := filepath.Join(f.dir, filepath.FromSlash(path))
	require.NoError(f.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(f.t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// run runs a command that must succeed, and returns its output.
func (f *factory) run(args ...string) string {
	f.t.Helper()
	out, err := f.try(args...)
	require.NoError(f.t, err)
	return out
}

func (f *factory) try(args ...string) (string, error) {
	cmd := exec.CommandContext(f.t.Context(), filepath.Join(bin, "imagefactory"), args...)
	cmd.Dir = f.dir
	cmd.Env = f.environ()
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("imagefactory %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String(), nil
}

// environ returns the environment of a command.
func (f *factory) environ() []string {
	return append(os.Environ(), append([]string{
		"IMAGEFACTORY_TEST_NOW=" + f.now.Format(time.RFC3339), "IMAGEFACTORY_CREDENTIALS=" + filepath.Join(f.dir, "credentials"),
		"IMAGEFACTORY_CACHE_DIR=" + filepath.Join(f.dir, "cache"), "NO_COLOR=1",
	}, f.env...)...)
}

func (f *factory) analyze() { f.t.Helper(); f.run("analyze", "--source-dir", "sources") }

// decode runs a command and decodes its JSON.
func (f *factory) decode(into any, args ...string) {
	f.t.Helper()
	require.NoError(f.t, json.Unmarshal([]byte(f.run(append(args, "-o", "json")...)), into))
}

// description is what the tests compare of describe.
type description struct {
	Version  string `json:"version"`
	Decision struct {
		Status string `json:"status"`
		Reason string `json:"reason"`
	} `json:"decision"`
	Bases   []describedBase `json:"bases"`
	History []struct {
		ID      string `json:"id"`
		Status  string `json:"status"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"history"`
}

type describedBase struct {
	Ref     string `json:"ref"`
	Final   bool   `json:"final"`
	Parent  string `json:"parent"`
	BuiltOn struct {
		Digest   string `json:"digest"`
		Evidence string `json:"evidence"`
	} `json:"builtOn"`
}

// base returns what is known of a base; the zero value if the image does not use it.
func (d *description) base(ref string) describedBase {
	for _, b := range d.Bases {
		if b.Ref == ref {
			return b
		}
	}
	return describedBase{}
}

func (f *factory) describe(name string) *description {
	f.t.Helper()
	var d description
	f.decode(&d, "describe", name)
	return &d
}

// statuses returns the status of each image.
func (f *factory) statuses() map[string]string {
	f.t.Helper()
	var list struct {
		Items []struct {
			Image  string `json:"image"`
			Status string `json:"status"`
		} `json:"items"`
	}
	f.decode(&list, "status")
	out := map[string]string{}
	for _, i := range list.Items {
		out[i.Image] = i.Status
	}
	return out
}

// unripe returns the builds on an unripe digest that the audit reports: the references, by image and version.
func (f *factory) unripe() map[string][]string {
	f.t.Helper()
	var report struct {
		Unripe []struct {
			Image string `json:"image"`
			Ref   string `json:"ref"`
		} `json:"unripe"`
	}
	f.decode(&report, "audit", "--since", "90d", "--no-history")
	out := map[string][]string{}
	for _, u := range report.Unripe {
		out[u.Image] = append(out[u.Image], u.Ref)
	}
	return out
}
