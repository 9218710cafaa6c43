package promote

import (
	"slices"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// rebuildRequest is a rebuild as an executor needs it.
type rebuildRequest struct {
	state.Rebuild
	Image *config.Image
	For   []wanted // the bases that it is for, by preference
	Alone bool     // no other enrolled image is built by the same workflow or project
	Lock  func(time.Time) (*fleet.Lock, error)
	Taken func(string) bool // reports whether a run, given by its ID, belongs to another rebuild
}

// wanted is a base or parent that an image is rebuilt for.
type wanted struct {
	Base      string // reference without digest
	Digest    string
	Warehouse string // that watches it; "" if Kargo cannot watch it
}

// newRequest returns the request for the rebuild of an image that is in state.
func newRequest(f *fleet.Fleet, img *config.Image) *rebuildRequest {
	return requestFor(f, img, *f.State.Images[img.Name].Rebuild)
}

// requestFor returns the request for a rebuild of an image.
func requestFor(f *fleet.Fleet, img *config.Image, rebuild state.Rebuild) *rebuildRequest {
	lock := func(now time.Time) (*fleet.Lock, error) { return f.Pin(img.Name, now) }
	r := &rebuildRequest{Image: img, Rebuild: rebuild, Lock: lock, Taken: takenRuns(f, img.Name), Alone: builtAlone(f, img)}
	for _, dep := range f.Graph.Deps(img.Name) {
		if !dep.Moves() {
			continue
		}
		tag, _ := dep.Ref.WithoutDigest()
		w := wanted{Base: tag.String(), Warehouse: warehouseOf(f, &dep)}
		target := r.target(dep.Ref.String())
		switch {
		case target != nil:
			w.Digest = target.Digest
		case len(r.Bases) > 0: // the rebuild is for another base
			continue
		case dep.Updated:
			w.Digest = dep.Ref.Digest
		case dep.Parent != "":
			if parent := f.State.Images[dep.Parent]; parent != nil && parent.PublishedTag(dep.Ref.Tag) != nil {
				w.Digest = parent.PublishedTag(dep.Ref.Tag).Digest
			}
		default:
			if base := f.State.Bases[dep.Base]; base != nil {
				w.Digest = base.CurrentDigest
			}
		}
		r.For = append(r.For, w)
	}
	if !slices.ContainsFunc(r.For, wanted.watched) {
		r.For = append(r.For, otherBases(f, img.Name, r)...)
	}
	return r
}

// watched reports whether Kargo can create Freight for it.
func (w wanted) watched() bool { return w.Warehouse != "" }

// warehouseOf returns the name of the Warehouse that watches a dependency; "" if Kargo cannot watch it.
func warehouseOf(f *fleet.Fleet, dep *graph.Dep) string {
	warehouse, registry, repository := kargo.BaseWarehouse(dep.Base), dep.Ref.Registry, dep.Ref.Repository
	if dep.Parent != "" {
		parent := f.Config.Find(dep.Parent)
		warehouse, registry, repository = kargo.ImageWarehouse(dep.Parent), parent.Registry, parent.Repository
	}
	if !kargo.Watchable(f.Config, registry, repository) {
		return ""
	}
	return warehouse
}

// otherBases returns the other bases of an image that Kargo can watch. A Promotion must carry some Freight: that of another
// base, if the rebuild is for one that Kargo cannot watch.
func otherBases(f *fleet.Fleet, image string, r *rebuildRequest) []wanted {
	var out []wanted
	for _, dep := range f.Graph.Deps(image) {
		tag, _ := dep.Ref.WithoutDigest()
		w := wanted{Base: tag.String(), Warehouse: warehouseOf(f, &dep)}
		if dep.Moves() && w.watched() && r.target(dep.Ref.String()) == nil {
			out = append(out, w)
		}
	}
	return out
}

// builtAlone reports whether no other enrolled image is built by the same workflow or project.
func builtAlone(f *fleet.Fleet, img *config.Image) bool {
	at := img.Source.Builder()
	return !slices.ContainsFunc(f.Config.Images, func(x config.Image) bool {
		if x.Name == img.Name || !x.Managed() {
			return false
		}
		s := x.Source.Builder()
		return s.Host == at.Host && s.Repo == at.Repo && s.Workflow == at.Workflow && s.Branch == at.Branch
	})
}

// target returns the target of the rebuild for a reference, or nil.
func (r *rebuildRequest) target(ref string) *state.Target {
	for i := range r.Bases {
		if r.Bases[i].Ref == ref {
			return &r.Bases[i]
		}
	}
	return nil
}

// takenRuns returns a function that reports whether a run at the forge of an image belongs to another rebuild than its
// current one. The runs are collected on the first call.
func takenRuns(f *fleet.Fleet, image string) func(run string) bool {
	taken := sync.OnceValue(func() map[string]bool { return runsOfExternal(f, image) })
	return func(run string) bool { return taken()[run] }
}

func runsOfExternal(f *fleet.Fleet, image string) map[string]bool {
	taken, host := map[string]bool{}, f.Config.Find(image).Source.Host
	for name, facts := range f.State.Images {
		if img := f.Config.Find(name); img == nil || !img.Managed() || img.Source.Host != host {
			continue // run IDs are unique per forge only
		}
		if r := facts.Rebuild; r != nil && name != image && r.Run != "" {
			taken[r.Run] = true
		}
		for i := range facts.RebuildHistory {
			taken[facts.RebuildHistory[i].Run] = true
		}
	}
	return taken
}
