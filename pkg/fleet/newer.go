package fleet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/internal/tagline"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	stoppedAfter = 30 * 24 * time.Hour // without a move; a tag of an older release may still get some
	endsSoon     = 90 * 24 * time.Hour // that the end of life of a release line is reported ahead

	maxEndOfLife = 4 << 20 // bytes of the file
)

// cycle is a release line as endoflife.date describes it. Of its values the text is read: 3.10 is not 3.1.
type cycle struct {
	Cycle    yaml.Node `yaml:"cycle"`
	Codename yaml.Node `yaml:"codename"`
	EOL      yaml.Node `yaml:"eol"` // a date, or whether it has ended
}

// lintNewer reports base images that newer tags, as the registry listed them, or the end of life of their release line should
// have images leave.
func (f *Fleet) lintNewer(now time.Time) finding.List {
	var l finding.List
	cycles, err := f.endOfLife()
	if err != nil {
		l = append(l, finding.EndOfLife.At(f.Config.File(), 1, 1, "factory.lint.endOfLife: "+sanitize.Line(err.Error()), "correct the file or the path"))
	}
	for _, name := range f.Graph.Bases() {
		base := f.State.Bases[name]
		if base == nil {
			continue
		}
		at := func(r finding.Rule, fix, format string, args ...any) {
			used := " (used by " + plural.Listed(f.Graph.Dependents(name), maxNamed) + ")"
			l = append(l, r.At(stateFile(f.Paths.StateDir, state.BasesFolder, name), 0, 0, state.Short(base.Ref())+fmt.Sprintf(format, args...)+used, fix))
		}
		if newer := base.Newer; f.Config.Factory.Lint.NewerTags && newer != nil {
			if moved := base.LastUpdated.Time; newer.Release != "" && !moved.IsZero() && now.Sub(moved) >= stoppedAfter {
				at(finding.StoppedTag, "build on "+newer.Release+", or on a tag that moves with the release line", " has not moved since %s, and %s is newer in its release line", moved.UTC().Format(time.DateOnly), newer.Release)
			}
			if newer.Line != "" {
				at(finding.OldLine, "move to the newer release line, or accept this with factory.lint.ignore", ": there is a newer release line, %s", newer.Line)
			}
		}
		ref := f.Graph.BaseRef(name)
		if c, ends := endOf(ref.Tag, cycles[ref.Registry+"/"+ref.Repository], now); c != "" {
			at(finding.EndOfLife, "move to a newer release line", ": release line %s %s", c, ends)
		}
	}
	return l
}

// endOf returns the release line of a tag and how it ends, if that is soon or past. The longest cycle that fits counts: 3.13
// before 3.
func endOf(tag string, cycles []cycle, now time.Time) (name, ends string) {
	t, ok := tagline.Parse(tag)
	most := -1
	var found *cycle
	for i := range cycles {
		c := &cycles[i]
		fits := ok && t.Names(c.Cycle.Value) || c.Codename.Value != "" && tagline.HasWord(tag, c.Codename.Value)
		if fits && len(c.Cycle.Value) > most {
			most, found = len(c.Cycle.Value), c
		}
	}
	if found == nil {
		return "", ""
	}
	name = sanitize.Line(found.Cycle.Value)
	if found.EOL.Value == "true" {
		return name, "is at its end of life"
	}
	at, err := time.Parse(time.DateOnly, found.EOL.Value)
	switch {
	case err != nil || now.Add(endsSoon).Before(at):
		return "", ""
	case now.Before(at):
		return name, "reaches its end of life on " + found.EOL.Value
	}
	return name, "is at its end of life since " + found.EOL.Value
}

// endOfLife returns the release lines of repositories from the file that factory.lint.endOfLife names, which must not be outside the
// folder of images.yaml.
func (f *Fleet) endOfLife() (map[string][]cycle, error) {
	name := f.Config.Factory.Lint.EndOfLife
	if name == "" {
		return nil, nil
	}
	file, err := os.OpenInRoot(filepath.Dir(f.Paths.Config), filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxEndOfLife+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxEndOfLife {
		return nil, fmt.Errorf("reading %q: larger than %d MB", name, maxEndOfLife>>20)
	}
	return parseCycles(name, data)
}

// parseCycles parses a file of release lines by repository.
func parseCycles(name string, data []byte) (map[string][]cycle, error) {
	var given map[string][]cycle
	if err := yaml.Unmarshal(data, &given); err != nil {
		if message, ok := strings.CutPrefix(err.Error(), "yaml: "); ok {
			err = errors.New(message)
		}
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	out := map[string][]cycle{}
	for repository, cycles := range given {
		ref, err := state.ParseRef(repository)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		out[ref.Registry+"/"+ref.Repository] = cycles
	}
	return out, nil
}
