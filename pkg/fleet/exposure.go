package fleet

import (
	"time"

	"github.com/imagefactory/imagefactory/pkg/exposure"
)

// Exposure compares the findings of scans at a time.
func (f *Fleet) Exposure(now time.Time) *exposure.Fleet {
	return &exposure.Fleet{Config: f.Config, State: f.State, Graph: f.Graph, Now: now}
}

// Judge releases and holds candidates for the findings of scans, as `urgent` says. It changes the state in memory.
func (f *Fleet) Judge(now time.Time) {
	if len(f.State.BaseScans) > 0 {
		f.Exposure(now).Judge()
	}
}
