package discover

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// proposer makes proposals from what was read.
type proposer struct {
	config  *config.Config
	report  *Report
	names   map[string]bool
	own     map[string]bool // registries and namespaces that the images are pushed to
	pushed  map[string]int  // index of the proposal, by registry/repository
	parents map[string]*Parent
	uses    []use
}

// use is a reference in a Dockerfile that is built.
type use struct {
	ref, by, place string
}

// propose makes the report.
func propose(ctx context.Context, cfg *config.Config, readings []*reading) (*Report, error) {
	p := &proposer{
		config: cfg, report: &Report{Items: []Proposal{}, Unbuilt: []Unbuilt{}, Parents: []Parent{}, Problems: []Problem{}, Repositories: len(readings)},
		names: map[string]bool{}, own: map[string]bool{}, pushed: map[string]int{}, parents: map[string]*Parent{},
	}
	for i := range cfg.Images {
		p.names[cfg.Images[i].Name] = true
		if cfg.Images[i].Managed() {
			p.owned(cfg.Images[i].Registry, cfg.Images[i].Repository)
		}
	}
	slices.SortFunc(readings, func(a, b *reading) int { return cmp.Compare(a.repo.Name, b.repo.Name) })
	for _, r := range readings {
		if err := p.reading(ctx, r); err != nil {
			return nil, err
		}
	}
	p.link()
	p.report.sort()
	return p.report, nil
}

// publicHosts are registries that many organisations share: there, the namespace tells whose an image is.
var publicHosts = []string{"docker.io", "ghcr.io", "quay.io", "registry.gitlab.com", "gcr.io", "public.ecr.aws", "mcr.microsoft.com", "registry.k8s.io"}

func namespace(registry, repository string) string {
	if !slices.Contains(publicHosts, registry) {
		return registry
	}
	first, _, _ := strings.Cut(repository, "/")
	return registry + "/" + first
}

func (p *proposer) owned(registry, repository string) { p.own[namespace(registry, repository)] = true }

// group is the builds of one image from one Dockerfile and target.
type group struct {
	ref    string // registry/repository, or the text of the name if it is not known
	known  bool
	builds []*build
	also   []string // further repositories that it is pushed to
	tag    string   // that tells it from other groups of the same repository
	fault  error    // why the Dockerfile does not tell which images the build uses
}

func (p *proposer) reading(ctx context.Context, r *reading) error {
	p.report.Problems = append(p.report.Problems, r.problems...)
	groups := groupBuilds(r)
	shared := map[string]int{}
	for _, g := range groups {
		shared[g.ref]++
	}
	for _, g := range groups {
		var images []dockerfile.Image
		if images, g.fault = p.bases(ctx, r, g.builds[0]); ctx.Err() != nil {
			return ctx.Err()
		}
		p.report.Items = append(p.report.Items, p.proposal(r, g, shared[g.ref] > 1))
		item := &p.report.Items[len(p.report.Items)-1]
		if g.known {
			registry, repository, _ := strings.Cut(g.ref, "/")
			p.owned(registry, repository)
			p.pushed[g.ref] = len(p.report.Items) - 1
		}
		for _, img := range images {
			p.uses = append(p.uses, use{img.Ref, item.Name, fmt.Sprintf("%s %s", r.repo.Name, Place{g.builds[0].dockerfile, img.Line})})
		}
	}
	p.unbuilt(r)
	return nil
}

// groupBuilds groups the builds that push.
func groupBuilds(r *reading) []*group {
	var out []*group
	find := map[string]*group{}
	for _, b := range r.builds {
		if !b.pushes {
			continue
		}
		ref, isKnown, also := target(r, b)
		tag := ""
		key := strings.Join([]string{ref, b.dockerfile, b.target}, "\x00")
		g := find[key]
		if g != nil && !maps.Equal(g.builds[0].args, b.args) && ownTag(g.builds[0]) != "" && ownTag(b) != "" && ownTag(g.builds[0]) != ownTag(b) {
			key += "\x00" + ownTag(b)
			g.tag, tag = ownTag(g.builds[0]), ownTag(b)
			g = find[key]
		}
		if g == nil {
			g = &group{ref: ref, known: isKnown, also: also, tag: tag}
			find[key] = g
			out = append(out, g)
		}
		g.builds = append(g.builds, b)
	}
	for _, g := range out {
		slices.SortStableFunc(g.builds, func(a, b *build) int { return cmp.Compare(doubts(a), doubts(b)) })
	}
	byRef := map[string][]*group{}
	for _, g := range out {
		byRef[g.ref] = append(byRef[g.ref], g)
	}
	for _, list := range byRef {
		for _, g := range list {
			if len(list) > 1 && g.tag == "" {
				g.tag = ownTag(g.builds[0])
			}
		}
	}
	return out
}

func doubts(b *build) int {
	n := 2*len(b.guesses) + len(b.notes)
	if b.workflow == "" && b.job == "" {
		n += 100
	}
	return n
}

// target returns the first repository that a build is pushed to, and the others.
func target(r *reading, b *build) (ref string, isKnown bool, also []string) {
	var all, open []string
	for _, t := range b.tags {
		if registry, repository, _, ok := image(t); ok {
			all = appendNew(all, registry+"/"+repository)
		} else {
			open = appendNew(open, r.marks.show(nameOf(t)))
		}
	}
	switch {
	case len(all) > 0:
		return all[0], true, append(all[1:], open...)
	case len(open) > 0:
		return open[0], false, open[1:]
	}
	return "(not known)", false, nil
}

// ownTag returns the literal tag of a build that tells it from others: the only one besides latest, or the only one that has latest as
// a part. It is "" if there is none.
func ownTag(b *build) string {
	var all, latest []string
	for _, t := range b.tags {
		_, _, tag, _ := image(t)
		if tag == "" || tag == "latest" || !known(tag) {
			continue
		}
		if all = appendNew(all, tag); strings.Contains(tag, "latest") {
			latest = appendNew(latest, tag)
		}
	}
	switch {
	case len(all) == 1:
		return all[0]
	case len(latest) == 1:
		return latest[0]
	}
	return ""
}

// proposal makes the proposal for a group.
func (p *proposer) proposal(r *reading, g *group, shared bool) Proposal {
	b := g.builds[0]
	out := Proposal{Image: g.ref, Repository: r.repo.Name, Status: New, Confidence: High}
	for _, b := range g.builds {
		text := b.by
		if b.workflow != "" {
			text += ", in the workflow " + b.workflow
		}
		if b.job != "" {
			text += ", in the job " + b.job
		}
		if reason := (Reason{b.place, r.marks.show(text)}); !slices.Contains(out.Reasons, reason) && len(out.Reasons) < 20 {
			out.Reasons = append(out.Reasons, reason)
		}
	}
	for _, text := range slices.Concat(b.guesses, b.notes) {
		out.Notes = append(out.Notes, r.marks.show(text))
	}
	for _, ref := range g.also {
		out.Notes = append(out.Notes, "also pushed to "+ref)
	}
	img := p.image(r, g, &out)
	var lacks []string
	if !g.known {
		lacks = append(lacks, "the repository that it is pushed to")
		for _, t := range b.tags {
			out.Unresolved = append(out.Unresolved, r.marks.unresolved(nameOf(t))...)
		}
	}
	switch {
	case b.dockerfile == "":
		lacks = append(lacks, "a Dockerfile: "+b.by+" builds without one")
	case !known(b.dockerfile):
		lacks = append(lacks, "the path of the Dockerfile")
		out.Unresolved = append(out.Unresolved, r.marks.unresolved(b.dockerfile)...)
	case !r.files[b.dockerfile]:
		lacks = append(lacks, fmt.Sprintf("the Dockerfile: %s is not in the repository", b.dockerfile))
	}
	if g.fault != nil {
		lacks = append(lacks, "the images that it uses: "+g.fault.Error())
	}
	if registry, _, _ := strings.Cut(g.ref, "/"); g.known && hostname.IsLoopback(registry) {
		lacks = append(lacks, fmt.Sprintf("the registry: %s is the machine that builds", registry))
	}
	if !known(b.target) {
		lacks = append(lacks, "the target")
		out.Unresolved = append(out.Unresolved, r.marks.unresolved(b.target)...)
	}
	if !r.repo.remote {
		lacks = append(lacks, "the source repository: the folder has no remote origin")
	}
	if b.workflow == "" && b.job == "" {
		lacks = append(lacks, "a workflow: people build it by hand")
	}
	if shared && g.tag == "" {
		lacks = append(lacks, "the tags of this build, because others push to the same repository: "+r.marks.show(strings.Join(b.tags[:min(len(b.tags), 5)], ", ")))
	}
	if len(b.guesses) > 0 || slices.ContainsFunc(b.notes, needsWork) || len(out.Unresolved) > 0 {
		out.Confidence = Medium
	}
	if g.known && r.repo.remote {
		if have := p.enrolled(img, b.described); have != nil {
			out.Name = have.Name
			p.compare(&out, have, img, b)
			return out
		}
	}
	out.Name = p.name(img, g)
	img.Name = out.Name
	d, why := g.described()
	if d != nil && why == "" {
		d.replace(img.Source)
	}
	out.Unresolved = compact(out.Unresolved)
	p.names[img.Name] = true
	if len(lacks) == 0 {
		if why := p.invalid(img); why != "" {
			lacks = append(lacks, "valid values: "+why)
		}
	}
	if len(lacks) > 0 {
		out.Status, out.Confidence = Incomplete, Low
		for i, l := range lacks {
			out.Notes = slices.Insert(out.Notes, i, "not known: "+l)
		}
		return out
	}
	if why != "" {
		out.Notes = append(out.Notes, "copied from "+d.file+": "+r.marks.show(why))
	}
	out.Entry = new(config.EntryOf(img))
	return out
}

// needsWork reports whether a note asks a person to do something.
func needsWork(note string) bool {
	return strings.HasPrefix(note, "add ") || strings.HasPrefix(note, "does not ")
}

func compact(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// image returns the entry for a group, without a name. Build arguments that are not known go to the proposal.
func (p *proposer) image(r *reading, g *group, out *Proposal) *config.Image {
	b := g.builds[0]
	registry, repository, _ := strings.Cut(g.ref, "/")
	d := &p.config.Defaults.Source
	s := &config.Source{Provider: r.repo.Provider, Repo: r.repo.Name, Dockerfile: b.dockerfile, Target: b.target, Workflow: b.workflow, Job: b.job}
	if r.repo.Host != config.HomeHost(r.repo.Provider) || d.Host != "" {
		s.Host = r.repo.Host
	}
	if r.repo.Branch != "" && r.repo.Branch != cmp.Or(d.Branch, config.DefaultBranch) {
		s.Branch = r.repo.Branch
	}
	if s.Dockerfile == "Dockerfile" {
		s.Dockerfile = ""
	}
	for _, other := range g.builds {
		if other.workflow != b.workflow || other.job != b.job {
			continue
		}
		for _, platform := range other.platforms {
			if known(platform) {
				s.Platforms = appendNew(s.Platforms, platform)
			} else {
				out.Unresolved = append(out.Unresolved, r.marks.unresolved(platform)...)
			}
		}
		for name := range other.args {
			if v, ok := b.args[name]; !ok || v != other.args[name] {
				out.Notes = appendNew(out.Notes, "the build argument "+r.marks.show(name)+" has several values")
			}
		}
	}
	slices.Sort(s.Platforms)
	if slices.Equal(s.Platforms, []string{"linux/amd64"}) && len(d.Platforms) == 0 {
		s.Platforms = nil
	}
	for name, v := range b.args {
		if known(name) && known(v) && !slices.Contains(out.Notes, "the build argument "+name+" has several values") {
			if s.BuildArgs == nil {
				s.BuildArgs = map[string]string{}
			}
			s.BuildArgs[name] = v
		}
	}
	for name, v := range b.contexts {
		if known(name) && known(v) {
			if s.BuildContexts == nil {
				s.BuildContexts = map[string]string{}
			}
			s.BuildContexts[name] = v
		}
	}
	p.relevantArgs(r, b, s, out)
	img := &config.Image{Registry: registry, Repository: repository, Source: s}
	if g.tag != "" {
		img.Tags = &config.Tags{Strategy: config.Digest, Constraint: g.tag}
	}
	return img
}

// relevantArgs removes build arguments that decide nothing about the images that the build uses, such as a version or a commit.
func (p *proposer) relevantArgs(r *reading, b *build, s *config.Source, out *Proposal) {
	used := fromArgs(r.contents[b.dockerfile])
	for name := range s.BuildArgs {
		if !used[name] {
			delete(s.BuildArgs, name)
		}
	}
	for name, v := range b.args {
		if used[name] && !known(v) {
			out.Unresolved = append(out.Unresolved, r.marks.unresolved(v)...)
		}
	}
	if len(s.BuildArgs) == 0 {
		s.BuildArgs = nil
	}
}

var (
	argLine = lazy.Regexp(`(?mi)^\s*ARG\s+([A-Za-z_][A-Za-z0-9_]*)`)
	useLine = lazy.Regexp(`(?mi)^\s*(?:FROM|COPY\s+--from|ADD\s+--from|RUN\s.*from=|ARG)\b.*$`)
	varName = lazy.Regexp(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)
)

// fromArgs returns the build arguments that lines which name images, or other arguments, use.
func fromArgs(text []byte) map[string]bool {
	declared, used := map[string]bool{}, map[string]bool{}
	for _, m := range argLine().FindAllSubmatch(text, -1) {
		declared[string(m[1])] = true
	}
	for _, line := range useLine().FindAll(text, -1) {
		for _, m := range varName().FindAllSubmatch(line, -1) {
			if declared[string(m[1])] {
				used[string(m[1])] = true
			}
		}
	}
	return used
}

// enrolled returns the entry for an image, or nil. d is the target or service that it is built from, nil if there is none.
func (p *proposer) enrolled(img *config.Image, d *described) *config.Image {
	var found *config.Image
	for i := range p.config.Images {
		have := &p.config.Images[i]
		if have.Registry != img.Registry || have.Repository != img.Repository {
			continue
		}
		if found == nil || have.Managed() && isFrom(have.Source, img.Source, d) {
			found = have
		}
	}
	return found
}

// isFrom reports whether an enrolled source is the one that was found.
func isFrom(have, found *config.Source, d *described) bool {
	if file, name := have.BuildFile(); file != "" {
		return d != nil && d.file == file && d.name == name
	}
	return have.Target == found.Target && have.Dockerfile == cmp.Or(found.Dockerfile, "Dockerfile")
}

// compare fills in the status of an image that is enrolled.
func (p *proposer) compare(out *Proposal, have, img *config.Image, b *build) {
	want := *have
	source := config.Source{}
	if have.Source != nil {
		source = *have.Source
	}
	s := img.Source
	source.Provider, source.Repo = s.Provider, s.Repo
	source.Host = cmp.Or(s.Host, config.HomeHost(s.Provider))
	file, _ := source.BuildFile()
	if file == "" {
		source.Dockerfile, source.Target = cmp.Or(s.Dockerfile, "Dockerfile"), s.Target
	}
	source.Branch = cmp.Or(s.Branch, source.Branch, p.config.Defaults.Source.Branch, config.DefaultBranch)
	if b.workflow != "" {
		source.Workflow = b.workflow
	}
	if b.job != "" && source.Job != "" {
		source.Job = b.job
	}
	if file == "" && len(b.platforms) > 0 && len(s.Platforms) > 0 {
		source.Platforms = s.Platforms
	}
	if file == "" && len(s.BuildArgs) > 0 {
		source.BuildArgs = s.BuildArgs
	}
	want.Source = &source
	if !known(b.dockerfile) || !known(b.target) || b.workflow == "" && b.job == "" {
		out.Status, out.Confidence = Enrolled, Low
		return
	}
	out.Differences = config.Differences(have, &want)
	if out.Status = Enrolled; len(out.Differences) > 0 {
		out.Status = Differs
	}
}

var notInName = lazy.Regexp(`[^a-z0-9]+`)

const maxName = 49

// name returns a free name for an image: the last part of its repository, with more of it where that is taken.
func (p *proposer) name(img *config.Image, g *group) string {
	parts := strings.Split(img.Repository, "/")
	clean := func(text string) string {
		text = strings.Trim(notInName().ReplaceAllString(strings.ToLower(text), "-"), "-")
		return strings.Trim(text[:min(len(text), maxName)], "-")
	}
	base := parts[len(parts)-1]
	if !g.known {
		base = cmp.Or(img.Source.Target, path.Base(path.Dir(g.builds[0].dockerfile)), "image")
		if base == "." || !known(base) {
			base = path.Base(img.Source.Repo)
		}
	}
	candidates := []string{base}
	if folder := path.Base(path.Dir(g.builds[0].dockerfile)); g.known && folder != "." && known(folder) {
		candidates = append(candidates, base+"-"+folder)
	}
	if g.tag != "" {
		candidates = []string{base + "-" + g.tag}
	}
	if img.Source.Target != "" && known(img.Source.Target) {
		candidates = append(candidates, base+"-"+img.Source.Target)
	}
	if len(parts) > 1 && g.known {
		candidates = append(candidates, parts[len(parts)-2]+"-"+base, strings.Join(parts, "-"))
	}
	for _, c := range candidates {
		if c = clean(c); c != "" && !p.names[c] {
			return c
		}
	}
	for i := 2; ; i++ {
		c := clean(candidates[0])
		c = cmp.Or(strings.Trim(c[:min(len(c), maxName-6)], "-"), "image") + fmt.Sprintf("-%d", i)
		if !p.names[c] {
			return c
		}
	}
}

// invalid returns why an entry would not be valid, "" if it is.
func (p *proposer) invalid(img *config.Image) string {
	_, err := config.Append(nil, "", img)
	var list finding.List
	switch {
	case err == nil:
		return ""
	case errors.As(err, &list) && len(list) > 0:
		return list[0].Message
	}
	return err.Error()
}

// bases returns the images that the Dockerfile of a build uses. The error says why they are not known, though the Dockerfile is there.
func (p *proposer) bases(ctx context.Context, r *reading, b *build) ([]dockerfile.Image, error) {
	if !r.files[b.dockerfile] || !known(b.target) {
		return nil, nil
	}
	text, found := r.contents[b.dockerfile]
	if !found {
		return nil, fmt.Errorf("%s could not be read", b.dockerfile)
	}
	args := map[string]string{}
	for k, v := range b.args {
		if known(k) && known(v) {
			args[k] = v
		}
	}
	res, err := dockerfile.Resolve(ctx, bytes.Clone(text), dockerfile.Options{BuildArgs: args, Target: b.target})
	if err == nil {
		return res.Images, nil
	}
	at := Place{File: b.dockerfile}
	if e := (*dockerfile.Error)(nil); errors.As(err, &e) {
		at.Line, err = e.Line, errors.New(e.Msg)
	}
	p.report.Problems = append(p.report.Problems, Problem{r.repo.Name, at, err.Error()})
	return nil, err
}

// link finds which of one's own images others are built on.
func (p *proposer) link() {
	for _, u := range p.uses {
		registry, repository, _, ok := image(u.ref)
		if !ok {
			continue
		}
		ref := registry + "/" + repository
		if i, built := p.pushed[ref]; built {
			if item := &p.report.Items[i]; item.Name != u.by {
				item.UsedBy = appendNew(item.UsedBy, u.by)
			}
			continue
		}
		if !p.own[namespace(registry, repository)] || p.enrolled(&config.Image{Registry: registry, Repository: repository, Source: &config.Source{}}, nil) != nil {
			continue
		}
		if p.parents[u.ref] == nil {
			p.parents[u.ref] = &Parent{Ref: u.ref}
		}
		p.parents[u.ref].UsedBy = appendNew(p.parents[u.ref].UsedBy, u.place)
	}
	for _, parent := range p.parents {
		slices.Sort(parent.UsedBy)
		p.report.Parents = append(p.report.Parents, *parent)
	}
}

// unbuilt collects the Dockerfiles whose image nothing pushes.
func (p *proposer) unbuilt(r *reading) {
	reasons := map[string]string{}
	for _, b := range r.builds {
		if b.pushes {
			reasons[b.dockerfile] = ""
		} else if _, seen := reasons[b.dockerfile]; !seen {
			reasons[b.dockerfile] = "built at " + b.place.String() + ", and not pushed"
		}
	}
	for _, file := range r.dockerfiles {
		reason, built := reasons[file]
		if built && reason == "" {
			continue
		}
		if !built {
			reason = "nothing builds it"
		}
		if !p.isEnrolled(r.repo, file) {
			p.report.Unbuilt = append(p.report.Unbuilt, Unbuilt{r.repo.Name, file, r.marks.show(reason)})
		}
	}
}

// isEnrolled reports whether an entry is built from a file.
func (p *proposer) isEnrolled(repo Repository, file string) bool {
	for i := range p.config.Images {
		s := p.config.Images[i].Source
		if s != nil && s.Repo == repo.Name && s.Dockerfile == file && (s.Host == repo.Host || s.Provider == config.Git) {
			return true
		}
	}
	return false
}
