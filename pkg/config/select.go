package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// ParseSelector returns a label selector in the syntax of kubectl that also selects images of one of the owners; nil if neither is
// given. An owner may be written as in images.yaml or as in a label.
func ParseSelector(text string, owners []string) (labels.Selector, error) {
	if text == "" && len(owners) == 0 {
		return nil, nil
	}
	s, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("invalid label selector %q: %w", text, err)
	}
	if len(owners) == 0 {
		return s, nil
	}
	values := make([]string, len(owners))
	for i, owner := range owners {
		if !ownerForm().MatchString(owner) {
			return nil, fmt.Errorf("invalid owner %q", owner)
		}
		values[i] = OwnerLabel(owner)
	}
	r, err := labels.NewRequirement(OwnerKey, selection.In, values)
	if err != nil {
		return nil, fmt.Errorf("invalid owners: %w", err)
	}
	return s.Add(*r), nil
}

// Select returns the images that a label selector matches, in the order of the file.
func (c *Config) Select(s labels.Selector) []*Image {
	var out []*Image
	for i := range c.Images {
		if s.Matches(labels.Set(c.Images[i].SelectorLabels())) {
			out = append(out, &c.Images[i])
		}
	}
	return out
}

// ExplainNoMatch returns why a selector matches no image, for people.
func (c *Config) ExplainNoMatch(s labels.Selector) string {
	values := c.LabelValues()
	requirements, _ := s.Requirements()
	for _, r := range requirements {
		key := r.Key()
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In, selection.Exists, selection.GreaterThan, selection.LessThan:
		default: // what an image does not have
			continue
		}
		if values[key] == nil && key == OwnerKey {
			return "no image has an owner"
		}
		if values[key] == nil {
			return fmt.Sprintf("no image has the label %q%s", key, hintAt(key, slices.Sorted(maps.Keys(values)), "labels"))
		}
		wanted := r.ValuesUnsorted()
		if len(wanted) > 0 && !slices.ContainsFunc(values[key], func(v string) bool { return r.Matches(labels.Set{key: v}) }) {
			slices.Sort(wanted)
			return fmt.Sprintf("no image has the label %s=%s%s", key, strings.Join(wanted, ","), hintAt(wanted[0], values[key], "values"))
		}
	}
	return fmt.Sprintf("no image matches %q", s)
}

// LabelValues returns the values of each label in use, sorted.
func (c *Config) LabelValues() map[string][]string {
	out := map[string][]string{}
	for i := range c.Images {
		for key, value := range c.Images[i].SelectorLabels() {
			if at, found := slices.BinarySearch(out[key], value); !found {
				out[key] = slices.Insert(out[key], at, value)
			}
		}
	}
	return out
}

// hintAt suggests the known word that is nearest, or lists a few.
func hintAt(got string, known []string, what string) string {
	const few = 12
	if len(known) == 0 {
		return " (images.yaml has none)"
	}
	hint := suggest(got, known)
	if strings.HasPrefix(hint, "did you mean") {
		return " (" + hint + ")"
	}
	if len(known) > few {
		return fmt.Sprintf(" (%d other %s are in use)", len(known), what)
	}
	return fmt.Sprintf(" (%s in use: %s)", what, strings.Join(known, ", "))
}
