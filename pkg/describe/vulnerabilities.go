package describe

import (
	"path"

	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func (d *Describer) exposure() *exposure.Fleet {
	return &exposure.Fleet{Config: d.in.Config, State: d.in.State, Graph: d.in.Graph, Now: d.in.Now}
}

// ScannedImage is like [Describer.Image], with what scans found. It compares the findings of all digests of the bases, which takes
// too long for every image of a fleet.
func (d *Describer) ScannedImage(name string) *Image {
	out := d.Image(name)
	if out == nil || d.in.State.ImageScans[name] == nil {
		return out
	}
	if found := d.exposure().Of(d.in.Config.Find(name)); found.Scanned {
		file := path.Join(d.in.StateDir, state.ImageScansFolder, name+".yaml")
		out.Vulnerabilities = &Vulnerabilities{found, d.inState(file, "digests", out.Digest)}
	}
	return out
}

// ScannedBase is like [Describer.Base], with what scans found. It compares the findings of each digest with those of all images
// that use the base image.
func (d *Describer) ScannedBase(name string) *Base {
	out := d.Base(name)
	if out == nil {
		return nil
	}
	digests := d.exposure().OfBase(name)
	if len(digests) > 0 {
		file := path.Join(d.in.StateDir, state.BaseScansFolder, name+".yaml")
		out.Vulnerabilities = &BaseVulnerabilities{digests, d.inState(file, "digests", "")}
	}
	return out
}
