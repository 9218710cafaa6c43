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
	"github.com/imagefactory/imagefactory/pkg/store"
)

// Options say what Run looks at.
type Options struct {
	Now      func() time.Time
	Store    store.Store    // where the fleet is
	Local    *fleet.Paths   // its files, when they are on this machine
	Location *kargo.Options // where the Jobs find state; what images.yaml and the checkout say when nil
	Branch   string         // of state; factory.state.branch when empty
	Offline  bool           // leave out what needs the network
	Direct   bool           // the fleet has no cluster: leave out what only Kargo needs
	Timeout  time.Duration  // of each check
	Tools    func(*fleet.Fleet) Tools
}

// Run checks for common problems of a fleet.
func Run(ctx context.Context, o Options) []Finding {
	f, out := o.input(ctx)
	if f == nil {
		return append(out, Finding{
			Check: "all else", Result: NotChecked, Message: "valid images.yaml and state are needed", Fix: "correct them first",
		})
	}
	if o.Branch != "" {
		f.Config.Factory.State.Branch = o.Branch
	}
	in := Fleet{Config: f.Config, State: f.State, Graph: f.Graph}
	if o.Location != nil {
		in.Location = *o.Location
	} else {
		in.Location, _ = f.Location() // validate has said so
	}
	if !o.Direct {
		out = append(out, o.generated(f, &in)...)
	}
	if o.Offline {
		needs := "tokens, workflows, registries, the state repository and the cluster need the network"
		if o.Direct {
			needs = "tokens, workflows, registries and the state repository need the network"
		}
		return append(out, Finding{Check: "all else", Result: NotChecked, Message: needs, Fix: "run it without --offline"})
	}
	tools := o.Tools(f)
	if o.Direct {
		tools.Cluster = nil
	}
	return append(out, Inspect(ctx, in, tools, o.Timeout)...)
}

// generated checks what Kargo gets from the fleet: its resources, which in gets as well, and the credential of the Jobs.
func (o *Options) generated(f *fleet.Fleet, in *Fleet) []Finding {
	var out []Finding
	var err error
	if in.Objects, _, err = kargo.Objects(in.Config, in.State, in.Graph, in.Location); err != nil {
		out = append(out, Finding{Check: "dist", Result: Error, Message: err.Error(), Fix: "correct images.yaml"})
	} else if o.Local != nil {
		out = append(out, distFinding(f))
	}
	return append(out, pushFinding(*in)...)
}

// input reads images.yaml and state. The fleet is nil when they are not valid.
func (o *Options) input(ctx context.Context) (*fleet.Fleet, []Finding) {
	const check = "images.yaml and state"
	fail := func(err error) (*fleet.Fleet, []Finding) {
		if o.Local == nil {
			return nil, []Finding{{
				Check: "state repository", Result: Error, Message: err.Error(),
				Fix: "check its URL, the network, and the credential (factory.credentials, use git)",
			}}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, []Finding{{Check: check, Result: Error, Message: fmt.Sprintf("no file %q", o.Local.Config), Fix: "run imagefactory init, or pass --config"}}
		}
		return nil, []Finding{{Check: check, Result: Error, Message: err.Error(), Fix: "correct the file, or restore it from git"}}
	}
	var list finding.List
	if o.Local != nil {
		var err error
		if list, err = fleet.Validate(*o.Local, "", o.Now()); err != nil {
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
	var out []Finding
	for _, f := range list {
		if f.Severity == finding.Error {
			fix := f.Fix
			f.Fix = ""
			out = append(out, Finding{Check: check, Result: Error, Message: f.String(), Fix: fix})
		}
	}
	if out != nil {
		return nil, out
	}
	if n := len(list.Warnings()); n > 0 {
		return f, []Finding{{Check: check, Result: Warning, Message: "valid, with " + plural.Count(n, "warning"), Fix: "imagefactory validate shows them"}}
	}
	return f, []Finding{{Check: check, Result: OK, Message: fmt.Sprintf("valid: %s enrolled", plural.Count(len(f.Config.Images), "image"))}}
}

// pushFinding reports whether images.yaml names the credential with which the Jobs push state. What this machine has says nothing of them.
func pushFinding(in Fleet) []Finding {
	const check = "credentials of the Jobs"
	at, err := url.Parse(in.Location.StateURL)
	if err != nil || at.Host == "" || len(in.Config.Images) == 0 {
		return nil // the state repository is not known, which is reported, or there is nothing to push
	}
	if c := in.Config.Factory.Credentials[at.Host]; c.Git == nil && c.API == nil {
		return []Finding{{
			Check: check, Result: Warning, Message: "images.yaml names no Secret for pushing state to " + at.Host,
			Fix: "set factory.credentials (" + at.Host + ": {git: {secret: NAME, key: KEY}}); `imagefactory init --full` has the form of the Secret",
		}}
	}
	return []Finding{{Check: check, Result: OK, Message: "images.yaml names the Secret for pushing state to " + at.Host}}
}

// distFinding checks whether dist is up to date.
func distFinding(f *fleet.Fleet) Finding {
	want, _, err := f.Synth(f.Split())
	if err != nil {
		return Finding{Check: "dist", Result: Error, Message: err.Error(), Fix: "correct images.yaml"}
	}
	changes, err := manifest.Compare(f.Paths.OutDir, want)
	switch {
	case err != nil:
		return Finding{Check: "dist", Result: Error, Message: err.Error()}
	case manifest.OnlyLayout(changes) != "":
		return Finding{
			Check: "dist", Result: Warning, Message: "only its line endings differ: " + manifest.OnlyLayout(changes),
			Fix: "imagefactory synth, and `imagefactory init --full` for a .gitattributes that keeps LF",
		}
	case len(changes) > 0:
		resources := manifest.CompareResources(changes, want)
		return Finding{
			Check: "dist", Result: Error, Message: "out of date: " + resources.Pending(),
			Fix: "run `imagefactory synth` and commit; without a cluster, run doctor --direct",
		}
	}
	return Finding{Check: "dist", Result: OK, Message: "up to date"}
}
