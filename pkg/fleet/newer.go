package fleet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/endoflife"
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

// ReleaseLines returns the release lines of repositories from the API at a URL. With an error, it returns what could be had.
type ReleaseLines func(url string, repositories []string) (map[string][]endoflife.Cycle, error)

// lintNewer reports base images that newer tags, as the registry listed them, or the end of life of their release line should
// have images leave.
func (f *Fleet) lintNewer(now time.Time) finding.List {
	var l finding.List
	cycles, err := f.endOfLife()
	if err != nil {
		text, fix := "factory.lint.endOfLife: ", "correct the file or the path"
		if f.Config.Factory.Lint.EndOfLifeURL() != "" {
			text, fix = text+"could not be asked: ", "validate again, or name a file beside images.yaml instead"
		}
		l = append(l, finding.EndOfLife.At(f.Config.File(), 1, 1, text+sanitize.Line(err.Error()), fix))
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
func endOf(tag string, cycles []endoflife.Cycle, now time.Time) (name, ends string) {
	t, ok := tagline.Parse(tag)
	most := -1
	var found *endoflife.Cycle
	for i := range cycles {
		c := &cycles[i]
		fits := ok && t.Names(c.Name) || c.Codename != "" && tagline.HasWord(tag, c.Codename)
		if fits && len(c.Name) > most {
			most, found = len(c.Name), c
		}
	}
	if found == nil {
		return "", ""
	}
	name = sanitize.Line(found.Name)
	if found.EOL == "true" {
		return name, "is at its end of life"
	}
	at, err := time.Parse(time.DateOnly, found.EOL)
	switch {
	case err != nil || now.Add(endsSoon).Before(at):
		return "", ""
	case now.Before(at):
		return name, "reaches its end of life on " + found.EOL
	}
	return name, "is at its end of life since " + found.EOL
}

// endOfLife returns the release lines of repositories from the API or the file that factory.lint.endOfLife names. The file must not be
// outside the folder of images.yaml. Only [Validate] asks the API.
func (f *Fleet) endOfLife() (map[string][]endoflife.Cycle, error) {
	if at := f.Config.Factory.Lint.EndOfLifeURL(); at != "" {
		if f.lines == nil {
			return nil, nil
		}
		var repositories []string
		for _, name := range f.Graph.Bases() {
			ref := f.Graph.BaseRef(name)
			repositories = append(repositories, ref.Registry+"/"+ref.Repository)
		}
		slices.Sort(repositories)
		return f.lines(at, slices.Compact(repositories))
	}
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

// parseCycles parses a file of release lines by repository, in the form of endoflife.date. Of the values the text is read: 3.10 is not 3.1.
func parseCycles(name string, data []byte) (map[string][]endoflife.Cycle, error) {
	var given map[string][]struct {
		Cycle    yaml.Node `yaml:"cycle"`
		Codename yaml.Node `yaml:"codename"`
		EOL      yaml.Node `yaml:"eol"` // a date, or whether it has ended
	}
	if err := yaml.Unmarshal(data, &given); err != nil {
		if message, ok := strings.CutPrefix(err.Error(), "yaml: "); ok {
			err = errors.New(message)
		}
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	out := map[string][]endoflife.Cycle{}
	for repository, list := range given {
		ref, err := state.ParseRef(repository)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		cycles := make([]endoflife.Cycle, len(list))
		for i := range list {
			cycles[i] = endoflife.Cycle{Name: list[i].Cycle.Value, Codename: list[i].Codename.Value, EOL: strings.ToLower(list[i].EOL.Value)}
		}
		out[ref.Registry+"/"+ref.Repository] = cycles
	}
	return out, nil
}
