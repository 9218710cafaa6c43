package fleet

import (
	"time"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

// Lint returns what [Validate] warns of in a fleet that is valid.
func (f *Fleet) Lint(now time.Time) finding.List {
	ignored := newIgnores(f.Config)
	l := ignored.apply(f.lint(nil, ignored, nil, now))
	l.Sort()
	return l
}

// Resource names a Kargo resource.
type Resource struct{ Kind, Name string }

// Resources returns the Kargo resources of the fleet as YAML.
func (f *Fleet) Resources() (map[Resource][]byte, error) {
	objects, n, _, err := f.each()
	if err != nil {
		return nil, err
	}
	out := make(map[Resource][]byte, n)
	for o := range objects {
		if out[Resource{o.Kind(), o.Name()}], err = yamlenc.Append(nil, o); err != nil {
			return nil, err
		}
	}
	return out, nil
}
