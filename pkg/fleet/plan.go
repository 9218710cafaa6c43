package fleet

import (
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Plan returns the plan of the fleet until a horizon, or the part about the selected images. A change, REF or REF=DIGEST, asks
// for the effect of one move of a tag; "" for none.
func (f *Fleet) Plan(s Selection, change string, horizon time.Duration, now time.Time) (*plan.Plan, error) {
	keep, err := f.Selected(s)
	if err != nil {
		return nil, err
	}
	o := plan.Options{Config: f.Config, State: f.State, Graph: f.Graph, Now: now, Horizon: horizon}
	if change != "" {
		if o.Change, err = f.change(change); err != nil {
			return nil, err
		}
	}
	p, err := plan.Make(o)
	if err != nil || s.All() {
		return p, err
	}
	return p.Only(keep), nil
}

// change reads REF or REF=DIGEST. REF is a base image or a managed image, by its name or a reference.
func (f *Fleet) change(spec string) (*plan.Change, error) {
	ref, digest, given := strings.Cut(spec, "=")
	if _, err := state.ParseRef("x@" + digest); given && err != nil {
		return nil, Usagef("invalid digest %q of %q (it is sha256: and 64 hexadecimal digits; leave it out for any new digest)", digest, ref)
	}
	if base := f.Base(ref); base != "" {
		return &plan.Change{Ref: f.Graph.BaseRef(base).String(), Base: base, Digest: digest}, nil
	}
	image, err := f.publisher(ref)
	if err != nil {
		return nil, err
	}
	img := f.Config.Find(image)
	c := &plan.Change{Ref: img.Ref(), Image: image, Digest: digest}
	if facts := f.State.Images[image]; facts != nil && facts.CurrentVersion != "" {
		c.Ref += ":" + facts.CurrentVersion
	}
	return c, nil
}

// publisher returns the managed image of a name, or the one that publishes a reference.
func (f *Fleet) publisher(nameOrRef string) (string, error) {
	if img := f.Config.Find(nameOrRef); img != nil && img.Managed() {
		return img.Name, nil
	}
	if ref, err := state.ParseRef(nameOrRef); err == nil {
		for i := range f.Config.Images {
			img := &f.Config.Images[i]
			if img.Managed() && img.Ref() == ref.Registry+"/"+ref.Repository && graph.Publishes(img, f.State.Images[img.Name], ref.Tag) {
				return img.Name, nil
			}
		}
	}
	return "", Usagef("no image uses %q (`imagefactory graph` shows the base images in use)", nameOrRef)
}
