package factory

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/imagefactory/imagefactory/pkg/doctor"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/manifest"
)

// DoctorOptions say what Doctor looks at.
type DoctorOptions struct {
	Now      func() time.Time
	Store    Store          // where the fleet is
	Local    *Paths         // its files, when they are on this machine
	Location *kargo.Options // where the Jobs find state; what images.yaml and the checkout say when nil
	Branch   string         // of state; factory.state.branch when empty
	Offline  bool           // leave out what needs the network
	Timeout  time.Duration  // of each check
	Tools    func(*Fleet) doctor.Tools
}

// Doctor checks what usually goes wrong, and says how to put it right.
func Doctor(ctx context.Context, o DoctorOptions) []doctor.Finding {
	fleet, out := o.input(ctx)
	if fleet == nil {
		return append(out, doctor.Finding{
			Check: "all else", Result: doctor.NotChecked, Message: "it needs valid images.yaml and state", Fix: "correct them first",
		})
	}
	if o.Branch != "" {
		fleet.Config.Factory.State.Branch = o.Branch
	}
	in := doctor.Fleet{Config: fleet.Config, State: fleet.State, Graph: fleet.Graph}
	if o.Location != nil {
		in.Location = *o.Location
	} else {
		in.Location, _ = fleet.Location() // validate has said so
	}
	var err error
	if in.Objects, _, err = kargo.Objects(in.Config, in.State, in.Graph, in.Location); err != nil {
		out = append(out, doctor.Finding{Check: "dist", Result: doctor.Error, Message: err.Error(), Fix: "correct images.yaml"})
	} else if o.Local != nil {
		out = append(out, fleet.distFinding())
	}
	out = append(out, pushFinding(in)...)
	if o.Offline {
		return append(out, doctor.Finding{
			Check: "all else", Result: doctor.NotChecked, Message: "tokens, workflows, registries, the state repository and the cluster need the network", Fix: "run it without --offline",
		})
	}
	return append(out, doctor.Run(ctx, in, o.Tools(fleet), o.Timeout)...)
}

// input reads images.yaml and state. The fleet is nil when they are not valid.
func (o *DoctorOptions) input(ctx context.Context) (*Fleet, []doctor.Finding) {
	const check = "images.yaml and state"
	fail := func(err error) (*Fleet, []doctor.Finding) {
		if o.Local == nil {
			return nil, []doctor.Finding{{
				Check: "state repository", Result: doctor.Error, Message: err.Error(),
				Fix: "check its URL, the network, and the credential (factory.credentials, use git)",
			}}
		}
		return nil, []doctor.Finding{{Check: check, Result: doctor.Error, Message: err.Error(), Fix: "docs/operate.md says how to repair them"}}
	}
	var list finding.List
	if o.Local != nil {
		var err error
		if list, err = Validate(*o.Local, "", o.Now()); err != nil {
			return fail(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	fleet, err := View(ctx, o.Store)
	var problems finding.List
	switch {
	case errors.As(err, &problems) && list.Err() == nil:
		list = problems
	case err != nil && list.Err() == nil:
		return fail(err)
	}
	var out []doctor.Finding
	for _, f := range list {
		if f.Severity == finding.Error {
			fix := f.Fix
			f.Fix = ""
			out = append(out, doctor.Finding{Check: check, Result: doctor.Error, Message: f.String(), Fix: fix})
		}
	}
	if out != nil {
		return nil, out
	}
	if n := len(list.Warnings()); n > 0 {
		return fleet, []doctor.Finding{{Check: check, Result: doctor.Warning, Message: "they are valid, with " + plural(n, "warning"), Fix: "imagefactory validate shows them"}}
	}
	return fleet, []doctor.Finding{{Check: check, Result: doctor.OK, Message: fmt.Sprintf("they are valid: %s enrolled", plural(len(fleet.Config.Images), "image"))}}
}

// pushFinding says whether images.yaml gives the Jobs what they push state with. What this machine has says nothing of them.
func pushFinding(in doctor.Fleet) []doctor.Finding {
	const check = "credentials of the Jobs"
	at, err := url.Parse(in.Location.StateURL)
	if err != nil || at.Host == "" || len(in.Config.Images) == 0 {
		return nil // the state repository is not known, which is reported, or there is nothing to push
	}
	if c := in.Config.Factory.Credentials[at.Host]; c.Git == nil && c.API == nil {
		return []doctor.Finding{{
			Check: check, Result: doctor.Warning, Message: "images.yaml names no Secret with which the Jobs push state to " + at.Host,
			Fix: "set factory.credentials (" + at.Host + ": {git: {secret: NAME, key: KEY}}); `imagefactory init --full` has the form of the Secret",
		}}
	}
	return []doctor.Finding{{Check: check, Result: doctor.OK, Message: "images.yaml names the Secret with which they push state to " + at.Host}}
}

// distFinding says whether dist is as synth would write it.
func (f *Fleet) distFinding() doctor.Finding {
	want, _, err := f.Synth(f.split())
	if err != nil {
		return doctor.Finding{Check: "dist", Result: doctor.Error, Message: err.Error(), Fix: "correct images.yaml"}
	}
	changes, err := manifest.Compare(f.Paths.OutDir, want)
	switch {
	case err != nil:
		return doctor.Finding{Check: "dist", Result: doctor.Error, Message: err.Error()}
	case manifest.OnlyLayout(changes) != "":
		return doctor.Finding{
			Check: "dist", Result: doctor.Warning, Message: "it differs from what synth would write only in how its lines end: " + manifest.OnlyLayout(changes),
			Fix: "imagefactory synth, and `imagefactory init --full` for a .gitattributes that keeps LF",
		}
	case len(changes) > 0:
		return doctor.Finding{Check: "dist", Result: doctor.Error, Message: "it is out of date", Fix: "imagefactory synth, and commit it"}
	}
	return doctor.Finding{Check: "dist", Result: doctor.OK, Message: "it is up to date"}
}
