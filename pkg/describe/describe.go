// Package describe collects all that is known about one image or one base image: facts with their places, decisions with the
// reasons for them, candidates with their clocks, history, users, plan, findings, and Kargo objects. It decides nothing itself
// and does no I/O: decisions come from package policy, the future from package plan.
package describe

import (
	"path"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Input is what descriptions are made of. Plan, Findings, Objects and Read may be missing.
type Input struct {
	Config    *config.Config
	State     *state.State
	Graph     *graph.Graph
	Now       time.Time
	StateDir  string            // as places name it
	Decisions []policy.Decision // about all images, of Now
	Plan      *plan.Plan
	Findings  finding.List
	Objects   []Object
	// Read returns the content of a state file or images.yaml, by the path that places name; nil if it cannot be read. Lines of
	// such files are known only with Read.
	Read func(file string) []byte
}

// Object is a Kargo object in dist that belongs to an image or base image.
type Object struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Image string `json:"-"` // enrolled image that it is for, or
	Base  string `json:"-"` // base image that it is for
}

// String returns the object as kubectl names it: Stage/rebuild-web.
func (o Object) String() string { return o.Kind + "/" + o.Name }

// Describer describes images and base images. It may be used for a whole fleet: what all of them need is computed once.
type Describer struct {
	in        Input
	decider   *policy.Decider // for clocks
	scans     *exposure.Fleet
	decisions map[string]*policy.Decision
	entries   map[string][]*plan.Entry // by image
	causes    map[string][]*plan.Entry // by reference
	skips     map[string][]plan.Skip   // by image
	findings  map[string]finding.List  // by image
	inFile    map[string]finding.List  // by file
	ofImage   map[string][]Object
	ofBase    map[string][]Object
	files     map[string][]byte
	config    []string // lines of images.yaml
	defaults  int      // index of the line of config that begins the defaults; -1 for none
}

// New returns a Describer.
func New(in Input) *Describer {
	d := &Describer{
		in: in, decider: policy.NewDecider(in.Config, in.State, in.Graph, in.Now),
		scans:     &exposure.Fleet{Config: in.Config, State: in.State, Graph: in.Graph, Now: in.Now},
		decisions: make(map[string]*policy.Decision, len(in.Decisions)), entries: map[string][]*plan.Entry{}, causes: map[string][]*plan.Entry{},
		skips: map[string][]plan.Skip{}, findings: map[string]finding.List{}, inFile: map[string]finding.List{},
		ofImage: map[string][]Object{}, ofBase: map[string][]Object{}, files: map[string][]byte{},
	}
	for i := range in.Decisions {
		d.decisions[in.Decisions[i].Image] = &in.Decisions[i]
	}
	if in.Plan != nil {
		d.indexPlan(in.Plan)
	}
	for i := range in.Findings {
		f := &in.Findings[i]
		d.inFile[f.File] = append(d.inFile[f.File], *f)
		if f.Image != "" {
			d.findings[f.Image] = append(d.findings[f.Image], *f)
		}
	}
	for _, o := range in.Objects {
		switch {
		case o.Base != "":
			d.ofBase[o.Base] = append(d.ofBase[o.Base], o)
		case o.Image != "":
			d.ofImage[o.Image] = append(d.ofImage[o.Image], o)
		}
	}
	return d
}

// Input returns what the descriptions are made of.
func (d *Describer) Input() Input { return d.in }

func (d *Describer) indexPlan(p *plan.Plan) {
	for i := range p.Items {
		e := &p.Items[i]
		d.entries[e.Image] = append(d.entries[e.Image], e)
		for j := range e.Bases {
			d.causes[e.Bases[j].Ref] = append(d.causes[e.Bases[j].Ref], e)
		}
	}
	for _, s := range p.Skipped {
		d.skips[s.Image] = append(d.skips[s.Image], s)
	}
}

// findingsOf returns the findings about an image, or in the state file of an image or base image.
func (d *Describer) findingsOf(image, stateFile string) finding.List {
	out := slices.Clone(d.findings[image])
	for _, f := range d.inFile[stateFile] {
		if image == "" || f.Image != image {
			out = append(out, f)
		}
	}
	out.Sort()
	return out
}

func (d *Describer) imageFile(name string) string {
	return path.Join(d.in.StateDir, state.ImagesFolder, name+".yaml")
}

func (d *Describer) baseFile(name string) string {
	return path.Join(d.in.StateDir, state.BasesFolder, name+".yaml")
}
