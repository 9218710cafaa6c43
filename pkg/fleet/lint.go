package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/crd"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/manifest"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Docker Hub's limit for anonymous pulls, which counts GET requests for manifests:
// https://docs.docker.com/docker-hub/usage/.
const (
	hubPullsPerWindow = 100
	hubWindow         = 6 * time.Hour
)

// Validate returns all problems of images.yaml and the state files, and lints both. With a folder of CRDs it also checks the
// objects that [Fleet.Synth] would write. If images are selected, warnings about other images and about the whole fleet are left
// out. Without lines, no API is asked for the end of release lines. The error is for problems of another kind, such as a file that cannot be
// opened.
func Validate(p Paths, crdDir string, selected Selection, lines ReleaseLines, now time.Time) (finding.List, error) {
	cfg, st, configErr, stateErr := read(p, os.DirFS(p.StateDir), state.Load, func() (*config.Config, error) { return config.LoadFile(p.Config) })
	var all finding.List
	for _, err := range []error{configErr, stateErr} {
		var list finding.List
		if errors.As(err, &list) {
			all = append(all, list...)
		} else if err != nil {
			return nil, err
		}
	}
	all = append(all, verify(st, p.StateDir, os.DirFS(p.StateDir))...)
	all = append(all, ahead(st, p.StateDir, os.DirFS(p.StateDir), now)...)
	if cfg != nil {
		f := &Fleet{Paths: p, Config: cfg, State: st, Graph: graph.Build(cfg, st), lines: lines}
		for _, base := range st.Bases {
			f.setDemand(base)
		}
		keep, err := f.Selected(selected)
		if err != nil {
			return nil, err
		}
		if all.Err() == nil { // a missing state file could hide or pretend a cycle
			all = append(all, Cycles(cfg, f.Graph)...)
		}
		ignored := newIgnores(cfg)
		all = append(all, ignored.apply(f.lint(all, ignored, keep, now))...)
		if crdDir != "" && all.Err() == nil {
			problems, err := f.againstCRDs(crdDir)
			if err != nil {
				return nil, err
			}
			all = append(all, problems...)
		}
		if all.Err() == nil { // an error can hide warnings
			all = append(all, ignored.apply(ignored.unused(cfg.File()))...)
		}
		if !selected.All() {
			all = f.about(keep, all)
		}
	}
	all.Sort()
	return all, nil
}

// warnings returns what Validate finds in a fleet that is open, and so has no errors but those of files that were left out, without
// the check against CRDs.
func (f *Fleet) warnings(now time.Time) finding.List {
	ignored := newIgnores(f.Config)
	all := append(slices.Clone(f.lost), ahead(f.State, f.Paths.StateDir, f.files, now)...)
	all = append(all, ignored.apply(f.lint(f.lost, ignored, nil, now))...)
	all.Sort()
	return all
}

// about returns the findings about the images, and the errors about no image in particular, which concern all of them.
func (f *Fleet) about(images map[string]bool, all finding.List) finding.List {
	for i := range all {
		if dir, base := path.Split(all[i].File); all[i].Image == "" && dir == display(f.Paths.StateDir, state.ImagesFolder)+"/" {
			all[i].Image = strings.TrimSuffix(base, ".yaml")
		}
	}
	return slices.DeleteFunc(all, func(l finding.Finding) bool {
		return l.Image != "" && !images[l.Image] || l.Image == "" && l.Severity == finding.Warning && !slices.Contains(ofSeveral, l.Rule)
	})
}

// ofSeveral are the rules that report a problem of several images in one finding.
var ofSeveral = []string{finding.TagsAssumed.ID, finding.UnlockedWait.ID}

// lint returns warnings. Findings about several images name only those to keep; nil keeps all. It skips images whose state file has a finding
// already. If any state file cannot be read or trusted, it also skips warnings about missing or unused state.
func (f *Fleet) lint(already finding.List, ignored *ignores, keep map[string]bool, now time.Time) finding.List {
	whole := true
	broken := map[string]bool{}
	for _, problem := range already {
		broken[problem.File] = true
		whole = whole && problem.Rule != finding.BadState.ID && problem.Rule != finding.DataShape.ID
	}
	publishers := map[string]string{} // repository to managed image
	for i := range f.Config.Images {
		if img := &f.Config.Images[i]; img.Managed() {
			publishers[img.Ref()] = img.Name
		}
	}
	var l finding.List
	for i := range f.Config.Images {
		if img := &f.Config.Images[i]; !broken[stateFile(f.Paths.StateDir, state.ImagesFolder, img.Name)] {
			l = append(l, f.lintImage(img, publishers, whole)...)
		}
	}
	l = append(l, f.lintFleet(ignored, keep)...)
	l = append(l, f.lintTrust()...)
	if whole {
		l = append(l, f.lintState()...)
	}
	l = append(l, f.lintNewer(now)...)
	l = append(l, f.lintUrgent(now)...)
	l = append(l, f.lintBudget()...)
	l = append(l, f.lintLeftOut()...)
	l = append(l, f.lintWorkflows()...)
	return append(l, f.lintLocation()...)
}

// lintLeftOut reports the objects that [Fleet.Synth] leaves out. If Kargo refuses a mirror it reports only that, since Synth
// then writes nothing.
func (f *Fleet) lintLeftOut() finding.List {
	refused := kargo.RefusedMirrors(f.Config, f.Graph)
	if len(refused) == 0 {
		return f.omissions(kargo.Omissions(f.Config, f.State, f.Graph))
	}
	var l finding.List
	for _, err := range refused {
		l = append(l, finding.LeftOut.At(f.Config.File(), 1, 1, "`synth` writes nothing: "+err.Error(), ""))
	}
	return l
}

func (f *Fleet) lintLocation() finding.List {
	_, err := f.Location()
	var l finding.List
	if err != nil && !errors.As(err, &l) {
		l = finding.List{finding.NoStateRepo.At(f.Config.File(), 1, 1, err.Error(), "")}
	}
	return l
}

func (f *Fleet) lintImage(img *config.Image, publishers map[string]string, whole bool) finding.List {
	var l finding.List
	at := func(r finding.Rule, message, fix string) {
		l = append(l, r.At(f.Config.File(), img.Line, img.Column, fmt.Sprintf("%s: %s", img.Name, message), fix).Of(img.Name))
	}
	facts := f.State.Images[img.Name]
	if facts == nil {
		if whole {
			l = append(l, f.noState(img))
		}
		return l
	}
	again := f.analyzeAgain(img)
	if text := PassedOver(img, facts, facts.CurrentVersion); text != "" {
		at(finding.PassedOver, text, SetTags)
	}
	if len(facts.Uncounted) > 0 {
		at(finding.NoneCounts, "none of its published tags counts, such as "+strings.Join(facts.Uncounted, ", "), "correct `tags`, and "+again)
	}
	switch {
	case !img.Managed():
		return l
	case facts.AnalysisError != "":
		at(finding.NoState, "last analysis failed: "+state.Text(facts.AnalysisError), "correct that, and "+again)
	case facts.Dockerfile == nil && len(facts.BaseImages)+len(facts.Unresolved) == 0:
		at(finding.NoState, "its Dockerfile was never analyzed, so its base images are not watched", again)
	}
	for _, u := range facts.Unresolved {
		at(finding.Unresolved, fmt.Sprintf("line %d of the Dockerfile uses %s, and %s has no value", u.Line, u.Text, strings.Join(u.Variables, ", ")), "give it in source.buildArgs")
	}
	for _, text := range f.notAllowed(img, facts) {
		at(finding.NotAllowed, text, "use a copy in an allowed one, or add it to factory.registries.allow")
	}
	for _, dep := range f.Graph.Deps(img.Name) {
		ref, publisher := dep.Ref.String(), publishers[dep.Ref.Registry+"/"+dep.Ref.Repository]
		switch {
		case dep.Updated:
		case dep.Ref.Pinned():
			at(finding.PinnedBase, fmt.Sprintf("%s is pinned by its digest: a rebuild cannot move it", state.Short(ref)), "set source.updatePins: pullRequest, or drop the digest and set pinBases")
		case dep.Parent == "" && publisher != "" && f.State.Images[publisher] == nil: // its published tags are not known
		case dep.Parent == "" && publisher != "":
			at(finding.Unpublished, fmt.Sprintf("%s is a repository of the managed image %q, which does not publish this tag", ref, publisher), "use a published tag, or set `tags` of that image")
		case dep.Parent == "" && dep.Ref.Tag == "latest":
			at(finding.FloatingTag, fmt.Sprintf("%s follows the tag latest", ref), "name a version in the Dockerfile")
		}
	}
	if !img.Source.Triggerable() && img.Rebuilds() {
		at(finding.NoTrigger, "a plain git server cannot start builds: the image is only watched, and shown when it is due", "set autoRebuild: false to accept this")
	}
	return l
}

// lintFleet reports problems that many images often have in common, in one finding each.
func (f *Fleet) lintFleet(ignored *ignores, keep map[string]bool) finding.List {
	var unlocked, undecided, unpublished []*config.Image
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		facts := f.State.Images[img.Name]
		if facts == nil || keep != nil && !keep[img.Name] {
			continue
		}
		switch _, known := graph.TagsOf(img, facts); {
		case known:
		case facts.Unpublished.IsZero():
			undecided = append(undecided, img)
		default:
			unpublished = append(unpublished, img)
		}
		if img.Rebuilds() && img.Source.Triggerable() && !img.Source.PinsBases() && img.Delay() > 0 && !f.onlyPins(img) {
			unlocked = append(unlocked, img)
		}
	}
	undecided, unpublished = ignored.images(finding.TagsAssumed, undecided), ignored.images(finding.TagsAssumed, unpublished)
	unlocked = ignored.images(finding.UnlockedWait, unlocked)
	var l finding.List
	if len(undecided) > 0 {
		l = append(l, finding.TagsAssumed.At(f.Config.File(), undecided[0].Line, undecided[0].Column,
			"published tags are not known yet, so semantic versions are assumed: "+listed(undecided),
			"set `tags`, or run `imagefactory analyze`"))
	}
	if len(unpublished) > 0 {
		l = append(l, finding.TagsAssumed.At(f.Config.File(), unpublished[0].Line, unpublished[0].Column,
			"nothing is published yet, so semantic versions are assumed: "+listed(unpublished), "publish it once, or set `tags`"))
	}
	if len(unlocked) > 0 {
		l = append(l, finding.UnlockedWait.At(f.Config.File(), unlocked[0].Line, unlocked[0].Column,
			plural.Form(len(unlocked), "image builds", "images build")+" with floating tags, so a push can still pull a digest younger than rebuildDelay: "+listed(unlocked),
			"build with the lock, as the workflow that `imagefactory workflow` writes does, and set source.pinBases: true; or accept it with factory.lint.ignore: [IF012]"))
	}
	return l
}

// onlyPins reports whether all references of an image are pinned, and moved by pull requests.
func (f *Fleet) onlyPins(img *config.Image) bool {
	deps := f.Graph.Deps(img.Name)
	return len(deps) > 0 && !slices.ContainsFunc(deps, func(d graph.Dep) bool { return !d.Updated })
}

// maxNamed is the number of images that a finding names; it counts the others.
const maxNamed = 5

func listed(images []*config.Image) string {
	names := make([]string, len(images))
	for i, img := range images {
		names[i] = img.Name
	}
	return plural.Listed(names, maxNamed)
}

func (f *Fleet) archiveIt() string {
	return fmt.Sprintf("archive it with `%s`", f.Paths.command("prune"))
}

// command returns a command line with the flags for these paths.
func (p Paths) command(args string) string {
	line := "imagefactory " + args
	if p.Config != config.DefaultConfigFile {
		line += " --config " + p.Config
	}
	if p.StateDir != p.defaultState() {
		line += " --state-dir " + p.StateDir
	}
	return line
}

// defaultState returns the state folder beside images.yaml.
func (p Paths) defaultState() string {
	return filepath.Join(filepath.Dir(p.Config), config.DefaultStateFolder)
}

// lintState reports unused state files.
func (f *Fleet) lintState() finding.List {
	var l finding.List
	for name := range f.State.Images {
		if f.Config.Find(name) == nil {
			l = append(l, finding.Orphan.At(stateFile(f.Paths.StateDir, state.ImagesFolder, name), 0, 0, fmt.Sprintf("image %q is no longer enrolled", name), f.archiveIt()+", or enroll it again").Of(name))
		}
	}
	for _, name := range f.unusedBases() {
		l = append(l, finding.Orphan.At(stateFile(f.Paths.StateDir, state.BasesFolder, name), 0, 0, fmt.Sprintf("no enrolled image uses %s", f.State.Bases[name].Ref()), f.archiveIt()))
	}
	return l
}

// lintBudget reports if the Warehouses exceed Docker Hub's limit for anonymous pulls.
func (f *Fleet) lintBudget() finding.List {
	if c := f.Config.Factory.Credentials["docker.io"]; c.Registry != nil || len(f.Config.Factory.Mirrors["docker.io"]) > 0 {
		return nil
	}
	bases, images := 0, 0
	for _, name := range f.Graph.Bases() {
		if f.Graph.BaseRef(name).Registry == "docker.io" && f.Graph.Watched(name) {
			bases++
		}
	}
	for i := range f.Config.Images {
		if f.Config.Images[i].Registry == "docker.io" {
			images++
		}
	}
	poll := f.Config.Factory.Poll
	pulls := bases*polls(*poll.BaseImages) + images*polls(*poll.Images)
	if pulls <= hubPullsPerWindow {
		return nil
	}
	return finding.List{finding.Budget.At(f.Config.File(), 1, 1,
		fmt.Sprintf("%d base images every %s and %d images every %s are %d pulls from docker.io in 6 hours (limit without login: %d)",
			bases, poll.BaseImages, images, poll.Images, pulls, hubPullsPerWindow),
		"set factory.credentials for docker.io, a mirror, or longer factory.poll intervals")}
}

func polls(interval config.Duration) int {
	return int((hubWindow + interval.Std() - 1) / interval.Std())
}

// againstCRDs validates the objects that [Fleet.Synth] would write against the CRDs of a cluster.
func (f *Fleet) againstCRDs(dir string) (finding.List, error) {
	set, err := crd.Load(dir)
	if err != nil {
		return nil, err
	}
	objects, _, _, err := f.each()
	if err != nil {
		return nil, err
	}
	files, err := manifest.RenderSplit(objects)
	if err != nil {
		return nil, err
	}
	l := oldKargo(set, dir)
	for name, data := range files {
		var obj map[string]any
		if err := yaml.Unmarshal(data, &obj); err != nil {
			return nil, fmt.Errorf("reading %q back: %w", name, err)
		}
		problems, _ := set.Validate(obj)
		for _, p := range problems {
			l = append(l, finding.CRD.At(f.distFile(name), 0, 0, fmt.Sprintf("%s: %s: %s", p.Object, cmp.Or(p.Path, "object"), p.Message), "is the CRD of another Kargo version?"))
		}
	}
	return l, nil
}

// oldKargo reports CRDs of a Kargo version below 1.11. CRDs have no version of Kargo, so it looks for a field of Stages.
func oldKargo(set *crd.Set, dir string) finding.List {
	has := func(field string) bool { return set.HasField("kargo.akuity.io", "Stage", "status", field) }
	if !kargo.Before111(has) {
		return nil
	}
	return finding.List{finding.OldKargo.At(filepath.ToSlash(dir), 0, 0,
		"the CRDs are of a Kargo below 1.11, "+kargo.UnknownBefore111, "upgrade Kargo to 1.11 or later")}
}

// distFile returns the path of a file of dist, given by its name in a split dist.
func (f *Fleet) distFile(name string) string {
	if f.Split() {
		return display(f.Paths.OutDir, name)
	}
	return display(f.Paths.OutDir, manifest.DefaultFile)
}

// Split reports whether dist holds a file per resource.
func (f *Fleet) Split() bool { return manifest.IsSplit(f.Paths.OutDir) }

// SetTags is the fix for a problem that [PassedOver] returns.
const SetTags = "set `tags` to say which tags count"

// PassedOver returns a text about the tag that speaks against the chosen rule for the published tag of an image, or "".
func PassedOver(img *config.Image, facts *state.Image, tag string) string {
	if img.Tags != nil || facts == nil || facts.Tags == nil || facts.Tags.PassedOver == "" {
		return ""
	}
	over := facts.Tags.PassedOver + ", whose image was built later"
	if facts.Tags.Strategy != string(config.SemVer) {
		over = facts.Tags.PassedOver + ", the highest semantic version, since later builds outweigh it"
	}
	return fmt.Sprintf("strategy %s chooses the published tag %s and passes over %s", facts.Tags.Strategy, tag, over)
}
