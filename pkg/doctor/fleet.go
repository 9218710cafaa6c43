package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/store"
)

// Options configure [Run].
type Options struct {
	Now      func() time.Time
	Store    store.Store    // where the fleet is
	Local    *fleet.Paths   // its files; nil if they are not on this machine
	Location *kargo.Options // where the Jobs find state; nil: taken from images.yaml and the checkout
	Branch   string         // of state; default factory.state.branch
	Offline  bool           // leave out what needs the network
	Direct   bool           // the fleet has no cluster: leave out the checks for Kargo
	Timeout  time.Duration  // of each check
	Tools    func(*fleet.Fleet) Tools
}

// Run checks for common problems of a fleet.
func Run(ctx context.Context, o Options) []Check {
	f, out := o.input(ctx)
	if f == nil {
		return append(out, Check{
			Name: "all else", Result: NotChecked, Message: "valid images.yaml and state are needed", Fix: "correct them first",
		})
	}
	if o.Branch != "" {
		f.Config.Factory.State.Branch = o.Branch
	}
	out = append(out, blocked(f, o.Now())...)
	in := Fleet{Config: f.Config, State: f.State, Graph: f.Graph}
	if o.Location != nil {
		in.Location = *o.Location
	} else {
		in.Location, _ = f.Location() // validate reports the error
	}
	if !o.Direct {
		out = append(out, o.generated(f, &in)...)
	}
	if o.Offline {
		needs := "tokens, workflows, registries, the state repository and the cluster need the network"
		if o.Direct {
			needs = "tokens, workflows, registries and the state repository need the network"
		}
		return append(out, Check{Name: "all else", Result: NotChecked, Message: needs, Fix: "run it without --offline"})
	}
	tools := o.Tools(f)
	if o.Direct {
		tools.Cluster = nil
	}
	return append(out, Inspect(ctx, in, tools, o.Timeout)...)
}

// generated checks the resources for Kargo, which it stores in in, and the credential of the Jobs.
func (o *Options) generated(f *fleet.Fleet, in *Fleet) []Check {
	var out []Check
	var err error
	if in.Objects, _, err = kargo.Objects(in.Config, in.State, in.Graph, in.Location); err != nil {
		out = append(out, Check{Name: "dist", Result: Error, Message: err.Error(), Fix: "correct images.yaml"})
	} else if o.Local != nil {
		out = append(out, distCheck(f))
	}
	return append(out, pushCheck(*in)...)
}

// input reads images.yaml and state. The fleet is nil if they are invalid.
func (o *Options) input(ctx context.Context) (*fleet.Fleet, []Check) {
	const check = "images.yaml and state"
	fail := func(err error) (*fleet.Fleet, []Check) {
		if o.Local == nil {
			return nil, []Check{{
				Name: "state repository", Result: Error, Message: err.Error(),
				Fix: "check its URL, the network, and the credential (factory.credentials, use git)",
			}}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, []Check{{Name: check, Result: Error, Message: fmt.Sprintf("no file %q", o.Local.Config), Fix: "run imagefactory init, or pass --config"}}
		}
		return nil, []Check{{Name: check, Result: Error, Message: err.Error(), Fix: "correct the file, or restore it from git"}}
	}
	var list finding.List
	if o.Local != nil {
		var err error
		if list, err = fleet.Validate(*o.Local, "", fleet.Selection{}, nil, o.Now()); err != nil {
			return fail(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	f, err := store.View(ctx, o.Store)
	var problems finding.List
	switch {
	case errors.As(err, &problems) && list.Err() == nil:
		list = problems
	case err != nil && list.Err() == nil:
		return fail(err)
	}
	var out []Check
	for _, f := range list {
		if f.Severity == finding.Error {
			fix := f.Fix
			f.Fix = ""
			out = append(out, Check{Name: check, Result: Error, Message: f.String(), Fix: fix})
		}
	}
	if out != nil {
		return nil, out
	}
	if n := len(list.Warnings()); n > 0 {
		return f, []Check{{Name: check, Result: Warning, Message: "valid, with " + plural.Count(n, "warning"), Fix: "imagefactory validate shows them"}}
	}
	return f, []Check{{Name: check, Result: OK, Message: fmt.Sprintf("valid: %s enrolled", plural.Count(len(f.Config.Images), "image"))}}
}

// blocked reports rebuilds that were recorded and could not be started.
func blocked(f *fleet.Fleet, now time.Time) []Check {
	const check, most = "rebuilds", 5
	var out []Check
	n := 0
	for _, d := range policy.Decide(f.Config, f.State, f.Graph, now) {
		if d.Status != policy.Blocked {
			continue
		}
		if n++; n <= most {
			out = append(out, Check{
				Name: check, Result: Warning, Message: fmt.Sprintf("%s is blocked since %s: %s", d.Image, d.Since.UTC().Format("2006-01-02 15:04 UTC"), d.Reason),
				Fix: "correct the cause, which may be among the other checks; the next pass of promote starts it",
			})
		}
	}
	switch {
	case n == 0:
		return []Check{{Name: check, Result: OK, Message: "none is blocked"}}
	case n > most:
		out = append(out, Check{Name: check, Result: Warning, Message: fmt.Sprintf("%d more are blocked", n-most), Fix: "imagefactory status lists them"})
	}
	return out
}

// pushCheck checks that images.yaml names the credential with which the Jobs push state: they cannot use those of this machine.
func pushCheck(in Fleet) []Check {
	const check = "credentials of the Jobs"
	at, err := url.Parse(in.Location.StateURL)
	if err != nil || at.Host == "" || len(in.Config.Images) == 0 {
		return nil // the state repository is unknown, which stateRepository reports, or there is nothing to push
	}
	if !in.Config.Factory.Credentials[at.Host].PushesGit() {
		return []Check{{
			Name: check, Result: Warning, Message: "images.yaml names no Secret for pushing state to " + at.Host,
			Fix: "set factory.credentials (" + at.Host + ": {git: {secret: NAME, key: KEY}}); `imagefactory init --full` has the form of the Secret",
		}}
	}
	return []Check{{Name: check, Result: OK, Message: "images.yaml names the Secret for pushing state to " + at.Host}}
}

// distCheck checks whether dist is up to date.
func distCheck(f *fleet.Fleet) Check {
	want, _, err := f.Synth(f.Split())
	usage := (*fleet.UsageError)(nil)
	switch {
	case errors.As(err, &usage): // names the fix itself
		return Check{Name: "dist", Result: Error, Message: err.Error()}
	case err != nil:
		return Check{Name: "dist", Result: Error, Message: err.Error(), Fix: "correct images.yaml"}
	}
	changes, err := manifest.Compare(f.Paths.OutDir, want)
	switch {
	case err != nil:
		return Check{Name: "dist", Result: Error, Message: err.Error()}
	case manifest.OnlyLayout(changes) != "":
		return Check{
			Name: "dist", Result: Warning, Message: "only its line endings differ: " + manifest.OnlyLayout(changes),
			Fix: "imagefactory synth, and `imagefactory init --full` for a .gitattributes that keeps LF",
		}
	case len(changes) > 0:
		resources := manifest.CompareResources(changes, want)
		return Check{
			Name: "dist", Result: Error, Message: "out of date: " + resources.Pending(),
			Fix: "run `imagefactory synth` and commit; without a cluster, run doctor --direct",
		}
	}
	return Check{Name: "dist", Result: OK, Message: "up to date"}
}
