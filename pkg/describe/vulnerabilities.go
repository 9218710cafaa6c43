package describe

import (
	"path"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func (d *Describer) exposure() *exposure.Fleet {
	return &exposure.Fleet{Config: d.in.Config, State: d.in.State, Graph: d.in.Graph, Now: d.in.Now}
}

// ofScans returns what scans found in a published image, or nil.
func (d *Describer) ofScans(img *config.Image, facts *state.Image) *Vulnerabilities {
	if d.in.State.ImageScans[img.Name] == nil {
		return nil
	}
	found := d.exposure().Of(img)
	if !found.Scanned {
		return nil
	}
	file := path.Join(d.in.StateDir, state.ImageScansFolder, img.Name+".yaml")
	return &Vulnerabilities{found, d.inState(file, "digests", facts.CurrentDigest)}
}

// ofBaseScans returns what scans found in the digests of a base image, or nil.
func (d *Describer) ofBaseScans(name string) *BaseVulnerabilities {
	digests := d.exposure().OfBase(name)
	if len(digests) == 0 {
		return nil
	}
	file := path.Join(d.in.StateDir, state.BaseScansFolder, name+".yaml")
	return &BaseVulnerabilities{digests, d.inState(file, "digests", "")}
}
