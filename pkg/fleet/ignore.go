package fleet

import (
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
)

// ignores applies factory.lint.ignore and remembers which of its entries matched.
type ignores struct {
	entries []config.Ignore
	matched []bool
}

func newIgnores(cfg *config.Config) *ignores {
	entries := cfg.Factory.Lint.Ignore
	return &ignores{entries: entries, matched: make([]bool, len(entries))}
}

// covers reports whether a warning of a rule is ignored. The image is empty if the warning is not about a single one.
func (g *ignores) covers(rule, image string) bool {
	covered := false
	for i := range g.entries {
		if e := &g.entries[i]; e.Rule == rule && (e.Image == "" || e.Image == image) {
			g.matched[i], covered = true, true
		}
	}
	return covered
}

// apply returns the findings that are not ignored.
func (g *ignores) apply(l finding.List) finding.List {
	return slices.DeleteFunc(l, func(f finding.Finding) bool { return f.Severity == finding.Warning && g.covers(f.Rule, f.Image) })
}

// images returns the images for which the rule is not ignored.
func (g *ignores) images(rule finding.Rule, all []*config.Image) []*config.Image {
	return slices.DeleteFunc(all, func(img *config.Image) bool { return g.covers(rule.ID, img.Name) })
}

// unused returns a finding for each entry that matched no warning.
func (g *ignores) unused(file string) finding.List {
	var l finding.List
	for i := range g.entries {
		if e := &g.entries[i]; !g.matched[i] {
			of := ""
			if e.Image != "" {
				of = fmt.Sprintf(" for image %q", e.Image)
			}
			l = append(l, finding.UnusedIgnore.At(file, e.Line, e.Column, fmt.Sprintf("factory.lint.ignore: no warning of %s%s", e.Rule, of), "remove the entry"))
		}
	}
	return l
}
