package describe

import (
	"path"

	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Exposure returns what scans found in a published image, or nil if it was not scanned.
func (d *Describer) Exposure(image string) *exposure.Exposure {
	img := d.in.Config.Find(image)
	if img == nil || d.in.State.ImageScans[image] == nil {
		return nil
	}
	if found := d.scans.Of(img); found.Scanned {
		return &found
	}
	return nil
}

// ScannedDigests returns what scans found in the digests of a base image, oldest first, without those that were not scanned.
func (d *Describer) ScannedDigests(base string) []exposure.ScannedDigest { return d.scans.OfBase(base) }

// ScannedImage is like [Describer.Image], with what scans found.
func (d *Describer) ScannedImage(name string) *Image {
	out := d.Image(name)
	if found := d.Exposure(name); found != nil {
		file := path.Join(d.in.StateDir, state.ImageScansFolder, name+".yaml")
		out.Vulnerabilities = &Vulnerabilities{*found, d.inState(file, "digests", out.Digest)}
	}
	return out
}

// ScannedBase is like [Describer.Base], with what scans found.
func (d *Describer) ScannedBase(name string) *Base {
	out := d.Base(name)
	if out == nil {
		return nil
	}
	if digests := d.ScannedDigests(name); len(digests) > 0 {
		file := path.Join(d.in.StateDir, state.BaseScansFolder, name+".yaml")
		out.Vulnerabilities = &BaseVulnerabilities{digests, d.inState(file, "digests", "")}
	}
	return out
}
