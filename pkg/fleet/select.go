package fleet

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Selection selects enrolled images by their names or by their labels. The zero value selects all.
type Selection struct {
	Names  []string
	Labels labels.Selector
}

// All reports whether the Selection selects every image.
func (s Selection) All() bool { return len(s.Names) == 0 && s.Labels == nil }

// Images returns the selected images, each once. For an unknown name the error is a [UsageError]. Labels may select none.
func (f *Fleet) Images(s Selection) ([]*config.Image, error) {
	var out []*config.Image
	for _, name := range s.Names {
		img, err := f.Image(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, img) {
			out = append(out, img)
		}
	}
	if len(s.Names) > 0 {
		return out, nil
	}
	selector := s.Labels
	if selector == nil {
		selector = labels.Everything()
	}
	return f.Config.Select(selector), nil
}

// Selected returns the names of the selected images.
func (f *Fleet) Selected(s Selection) (map[string]bool, error) {
	images, err := f.Images(s)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(images))
	for _, img := range images {
		names[img.Name] = true
	}
	return names, nil
}
