package migrate

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// archived is the reason in archived state files. Such a file is restored when its image is enrolled or used again.
const archived = "migrated from the older tool and no longer in use"

// oldBase is a base image of the old state.
type oldBase struct {
	*document
	ref   state.Ref // normalised; without a tag if it has only a digest
	moved time.Time // when the tag was seen moving to its current digest
	base  *state.Base
}

// facts converts the state files.
func (m *migration) facts() {
	m.st = state.New()
	bases := m.readBases()
	gone := state.New()
	for _, d := range m.images {
		m.image(d, bases, gone)
	}
	m.breakCycles()
	m.nameBases(gone)
	m.Bases = len(m.st.Bases)
	for _, d := range m.images {
		m.reportDates(d)
	}
	for folder, st := range map[string]*state.State{"": m.st, state.ArchiveFolder: gone} {
		files, refused := st.ChangedSince(nil)
		for _, name := range slices.Sorted(maps.Keys(refused)) {
			m.warn(path.Join(config.DefaultStateFolder, folder, name), &yaml.Node{}, fmt.Sprintf("not carried over: %s", refused[name]), "nothing to do; analyze records it again")
		}
		for name, data := range files {
			m.Files[path.Join(config.DefaultStateFolder, folder, name)] = data
		}
	}
}

// nameBases gives base images the names that analyze would give them. Unused ones go to the archive.
func (m *migration) nameBases(gone *state.State) {
	carried := m.st.Bases
	m.st.Bases = map[string]*state.Base{}
	g := graph.Build(m.cfg, m.st)
	for name, b := range carried {
		used := g.BaseName(state.Ref{Registry: b.Registry, Repository: b.Repository, Tag: b.Tag})
		if len(g.Dependents(used)) == 0 {
			b.Archived = archived
			gone.Bases[name] = b
			continue
		}
		b.Name = used
		m.st.Bases[used] = b
	}
}

// reportDates reports keys that are no longer used.
func (m *migration) reportDates(d *document) {
	for _, p := range pairs(d.root) {
		if slices.Contains([]string{"enrolledAt", "lastDiscovery", "discoveryStatus", "lastChecked"}, p.key.Value) && !isEmpty(p.value) {
			m.group("dates", d.file, p.key, "enrolledAt, lastDiscovery, discoveryStatus and lastChecked are not carried over: state holds facts, not the times of checks",
				"nothing to do; the old files and git's history have them")
		}
	}
}

// unknown reports the keys of a state file that the old tool did not write.
func (m *migration) unknown(d *document, keys ...string) {
	for _, p := range pairs(d.root) {
		if !slices.Contains(keys, p.key.Value) && !isEmpty(p.value) {
			m.warn(d.file, p.key, fmt.Sprintf("%s: %s is not carried over: unknown key", d.name, p.key.Value), "nothing to do if nobody needs it; the old file stays")
		}
	}
}

// readBases reads the base images by their old name. Several references can share a name.
func (m *migration) readBases() map[string][]*oldBase {
	out := map[string][]*oldBase{}
	for _, d := range m.bases {
		b := &oldBase{document: d}
		m.unknown(d, "name", "fullImage", "registry", "repository", "tag", "allowTags", "imageSelectionStrategy", "repoURL", "firstDiscovered", "lastChecked",
			"currentDigest", "lastUpdated", "previousDigest", "rebuildEligibleAt", "metadata", "updateHistory", "lastDiscovery", "rebuildDelay", "autoRebuild", "updates")
		ref, at, err := reference(d.root)
		if err != nil {
			if m.entryOf(d.name) != nil && get(d.root, "fullImage") == nil {
				continue // the old tool put a copy of the entry here
			}
			m.warn(d.file, at, fmt.Sprintf("%s: not carried over: %v", d.name, err), "nothing to do: analyze reads the Dockerfiles as BuildKit does")
			continue
		}
		b.ref = ref
		m.baseKeys(b)
		if first := out[d.name]; len(first) > 0 && first[0].ref != ref {
			m.warn(d.file, keyNode(d.root, "fullImage"), fmt.Sprintf("the name %q is used for two references, %s here and %s in %s; images that use it get both until they are analyzed",
				d.name, ref, first[0].ref, m.shown(first[0].file)), "run analyze: it reads the reference from the Dockerfile")
		}
		out[d.name] = append(out[d.name], b)
		m.addBase(b)
	}
	return out
}

// reference returns the reference of a base image. fullImage is the text of the Dockerfile; the old tool derived the other keys
// from it, not always correctly.
func reference(n *yaml.Node) (state.Ref, *yaml.Node, error) {
	at := keyNode(n, "fullImage")
	full := text(get(n, "fullImage"))
	if full == "" {
		at = keyNode(n, "name")
		repository := text(get(n, "repository"))
		if registry := text(get(n, "registry")); repository != "" && registry != "" {
			repository = registry + "/" + repository
		}
		if url := text(get(n, "repoURL")); repository == "" {
			repository = url
		}
		tag := text(get(n, "tag"))
		if tag == "" {
			tag = onlyTag(text(get(n, "allowTags")))
		}
		if repository == "" || tag == "" {
			return state.Ref{}, at, errors.New("no image with a tag")
		}
		full = repository + ":" + tag
	}
	if full == "scratch" {
		return state.Ref{}, at, errors.New("scratch is not an image")
	}
	ref, err := state.ParseRef(full)
	return ref, at, err
}

// baseKeys reports keys without an equivalent in the new state of a base image.
func (m *migration) baseKeys(b *oldBase) {
	m.reportDates(b.document)
	for _, key := range []string{"rebuildEligibleAt", "rebuildDelay", "autoRebuild"} {
		if n := get(b.root, key); n != nil && !isEmpty(n) {
			m.group(key, b.file, keyNode(b.root, key), key+" of a base image is not carried over: due rebuilds are computed from images.yaml and the facts", "set rebuildDelay and autoRebuild of the images that use it")
		}
	}
	for _, key := range []string{"metadata", "updates"} {
		if n := get(b.root, key); n != nil && !isEmpty(n) {
			m.warn(b.file, keyNode(b.root, key), fmt.Sprintf("%s: %s is not carried over: state does not store it", b.name, key), "nothing to do if nobody needs it; the old file stays")
		}
	}
	allow, strategy := text(get(b.root, "allowTags")), text(get(b.root, "imageSelectionStrategy"))
	usual := allow == "" || allow == "^"+b.ref.Tag+"$" || onlyTag(allow) == b.ref.Tag
	if !usual || strategy != "" && strategy != "Lexical" {
		m.warn(b.file, keyNode(b.root, "allowTags"), fmt.Sprintf("%s: allowTags %q with %s is not carried over: a base image follows the tag that the Dockerfile names, %s", b.name, allow, strategy, b.ref),
			"use another tag in the Dockerfile if you need a different one")
	}
}

// addBase creates the new state of a base image.
func (m *migration) addBase(b *oldBase) {
	ref, ok := b.ref.WithoutDigest()
	if !ok {
		m.warn(b.file, keyNode(b.root, "fullImage"), fmt.Sprintf("%s: %s is pinned without a tag, so it is not watched", b.name, b.ref), "nothing to do")
		return
	}
	base := &state.Base{Name: state.BaseName(ref), Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag}
	m.digests(b, base)
	known := m.st.Bases[base.Name]
	if known == nil {
		m.st.Bases[base.Name], b.base = base, base
		return
	}
	b.base = known
	if known.Baseline == nil && base.Baseline != nil {
		*known = *base
	} else if base.Baseline != nil && known.CurrentDigest != base.CurrentDigest {
		m.warn(b.file, keyNode(b.root, "currentDigest"), fmt.Sprintf("%s: two files for %s have different digests; %s is left out", b.name, ref, base.CurrentDigest), "run analyze: it asks the registry")
		return
	}
	m.warn(b.file, keyNode(b.root, "fullImage"), fmt.Sprintf("%s: merged with another file of %s", b.name, ref), "nothing to do")
}

// digests converts the recorded digests of a tag: the previous one becomes the baseline, the current one a candidate. So a
// move that has not triggered a rebuild yet is not lost.
func (m *migration) digests(b *oldBase, base *state.Base) {
	current, previous := m.digest(b.document, "currentDigest"), m.digest(b.document, "previousDigest")
	b.moved = m.time(b.document, "lastUpdated")
	first := m.time(b.document, "firstDiscovered")
	seen := b.moved
	for _, key := range []string{"lastChecked", "lastDiscovery", "firstDiscovered"} { // the last time that the tag was seen
		if seen.IsZero() {
			seen = m.time(b.document, key)
		}
	}
	if seen.IsZero() {
		seen = m.now
	}
	if current == "" {
		m.lone(b, previous)
		return
	}
	if first.IsZero() || first.After(seen) {
		first = seen
	}
	base.CurrentDigest, base.LastUpdated = current, state.At(seen)
	base.Baseline = &state.Candidate{Snapshot: state.Snapshot{Digest: current}, FirstSeen: state.At(first)}
	if previous != "" && previous != current {
		base.PreviousDigest = previous
		base.Baseline.Digest = previous
		base.Candidates = []state.Candidate{{Snapshot: state.Snapshot{Digest: current}, FirstSeen: state.At(seen)}}
	} else if !b.moved.IsZero() {
		base.Baseline.FirstSeen = state.At(b.moved)
	}
	m.history(b, base)
}

// lone reports facts about a base image that are useless without a digest.
func (m *migration) lone(b *oldBase, previous string) {
	for _, key := range []string{"previousDigest", "lastUpdated", "updateHistory"} {
		if n := get(b.root, key); n != nil && !isEmpty(n) && (key != "previousDigest" || previous != "") {
			m.warn(b.file, keyNode(b.root, key), fmt.Sprintf("%s: %s is not carried over: currentDigest is missing", b.name, key), "nothing to do; the first analyze records the digest of the tag")
		}
	}
	if n := get(b.root, "firstDiscovered"); n != nil {
		m.group("firstDiscovered", b.file, keyNode(b.root, "firstDiscovered"), "firstDiscovered is not carried over: no digest was recorded with it", "nothing to do; the first analyze records the digest of the tag")
	}
}

// history converts the moves of a tag that have a time and a digest.
func (m *migration) history(b *oldBase, base *state.Base) {
	list := get(b.root, "updateHistory")
	if list == nil || isEmpty(list) {
		return
	}
	if list.Kind != yaml.SequenceNode {
		m.warn(b.file, keyNode(b.root, "updateHistory"), fmt.Sprintf("%s: updateHistory is not carried over: want a list, not %s", b.name, describe(list)), "nothing to do; the old file stays")
		return
	}
	for _, item := range list.Content {
		u := state.Update{
			From: valueOf(item, validDigest, "from", "previousDigest", "oldDigest", "previous"),
			To:   valueOf(item, validDigest, "to", "newDigest", "currentDigest", "digest", "current"),
		}
		at, ok := parseTime(valueOf(item, isTime, "at", "timestamp", "date", "updatedAt", "lastUpdated", "time"))
		if !ok || u.To == "" || at.After(m.now) {
			m.warn(b.file, item, fmt.Sprintf("%s: an update is not carried over: it has no time or no digest", b.name), "nothing to do; the old file stays")
			continue
		}
		u.At = state.At(at)
		base.UpdateHistory = append(base.UpdateHistory, u)
	}
	slices.SortStableFunc(base.UpdateHistory, func(x, y state.Update) int { return x.At.Compare(y.At.Time) })
	const most = 10
	if n := len(base.UpdateHistory); n > most {
		m.warn(b.file, keyNode(b.root, "updateHistory"), fmt.Sprintf("%s: only the last %[3]d of %[2]d updates are carried over", b.name, n, most), "nothing to do; git's history has the others")
		base.UpdateHistory = base.UpdateHistory[n-most:]
	}
}

func valueOf(n *yaml.Node, valid func(string) bool, keys ...string) string {
	for _, key := range keys {
		if t := text(get(n, key)); valid(t) {
			return t
		}
	}
	return ""
}

var digestForm = lazy.Regexp(`^sha256:[0-9a-f]{64}$`)

func validDigest(s string) bool { return digestForm().MatchString(s) }

// digest returns a digest, and reports an invalid one.
func (m *migration) digest(d *document, key string) string {
	n := get(d.root, key)
	if n == nil || isEmpty(n) {
		return ""
	}
	if t := text(n); validDigest(t) {
		return t
	}
	m.warn(d.file, keyNode(d.root, key), fmt.Sprintf("%s: %s is not carried over: invalid digest %s", d.name, key, describe(n)), "nothing to do; analyze asks the registry")
	return ""
}

// time returns a time in the past, and reports anything else.
func (m *migration) time(d *document, key string) time.Time {
	n := get(d.root, key)
	if n == nil || isEmpty(n) {
		return time.Time{}
	}
	t, ok := parseTime(text(n))
	if ok && !t.After(m.now) {
		return t
	}
	m.group("no time"+d.file+key, d.file, keyNode(d.root, key), fmt.Sprintf("%s: %s is not carried over: invalid or future time %s", d.name, key, describe(n)), "nothing to do")
	return time.Time{}
}

func isTime(s string) bool {
	_, ok := parseTime(s)
	return ok
}

// parseTime parses times as written by Python and YAML. A time without a zone is UTC.
func parseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, form := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil && t.Year() > 1 && t.Year() < 9999 {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// entryOf returns the entry of an image's old name.
func (m *migration) entryOf(old string) *entry { return m.entryByName[old] }

// image creates the new state of an image.
func (m *migration) image(d *document, bases map[string][]*oldBase, gone *state.State) {
	m.unknown(d, "name", "enrolledAt", "lastDiscovery", "discoveryStatus", "enrollment", "allowTags", "imageSelectionStrategy", "repoURL", "baseImages",
		"currentVersion", "currentDigest", "lastBuilt")
	if d != m.stateOf(d.name) {
		m.warn(d.file, keyNode(d.root, "name"), fmt.Sprintf("%s: not carried over: %s describes the same image", d.name, m.shown(m.stateOf(d.name).file)), "check which is right, and migrate again")
		return
	}
	e := m.entryOf(d.name)
	if e == nil || e.new == nil {
		m.unenrolled(d, e, bases, gone)
		return
	}
	cfg := m.cfg.Find(e.name)
	img := &state.Image{Name: e.name, Repository: cfg.Ref()}
	if same, was := m.sameRepository(d, cfg); same {
		m.published(d, img)
	} else {
		m.warn(d.file, keyNode(d.root, "enrollment"), fmt.Sprintf("%s: the published version is not carried over: it belongs to %s, but images.yaml names %s", d.name, was, cfg.Ref()), "run analyze: it asks the registry")
	}
	used := m.uses(d, bases)
	if cfg.Managed() {
		m.builtOn(img, used)
		for _, ref := range slices.Sorted(maps.Keys(used)) {
			img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from"}}})
		}
	} else if len(used) > 0 {
		m.warn(d.file, keyNode(d.root, "baseImages"), fmt.Sprintf("%s: baseImages are not carried over: the image is external", d.name), "add source to the entry if you build it")
	}
	m.st.Images[e.name] = img
}

// unenrolled archives the state of an image that is not enrolled.
func (m *migration) unenrolled(d *document, e *entry, bases map[string][]*oldBase, gone *state.State) {
	taken := map[string]bool{}
	for name := range gone.Images {
		taken[name] = true
	}
	name := unique(slug(d.name, maxName), maxName, taken)
	enrolled := get(d.root, "enrollment")
	registry := text(get(enrolled, "registry"))
	if registry == "" {
		registry = config.DefaultRegistry
	}
	img := &state.Image{Name: name, Archived: archived}
	if ref, err := state.ParseRef(registry + "/" + text(get(enrolled, "repository"))); err == nil {
		img.Repository = ref.Registry + "/" + ref.Repository
	}
	m.published(d, img)
	for _, ref := range slices.Sorted(maps.Keys(m.uses(d, bases))) {
		img.BaseImages = append(img.BaseImages, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from"}}})
	}
	gone.Images[name] = img
	why, fix := "not in images.yaml", "run `imagefactory enroll` if it is still built: the old tool kept watching it"
	if e != nil {
		why, fix = "its entry could not be enrolled", "correct the entry"
	}
	m.warn(d.file, keyNode(d.root, "name"), fmt.Sprintf("%s: its state is archived as %s: %s", d.name, path.Join(config.DefaultStateFolder, state.ArchiveFolder, state.ImagesFolder, name+".yaml"), why),
		fix+"; its state is then restored")
}

// sameRepository reports whether the facts describe the repository in images.yaml.
func (m *migration) sameRepository(d *document, img *config.Image) (same bool, was string) {
	enrolled := get(d.root, "enrollment")
	repository := text(get(enrolled, "repository"))
	if repository == "" {
		return true, ""
	}
	registry := text(get(enrolled, "registry"))
	if registry == "" {
		return strings.HasSuffix("/"+img.Repository, "/"+repository), repository
	}
	ref, err := state.ParseRef(registry + "/" + repository)
	return err == nil && ref.Registry+"/"+ref.Repository == img.Ref(), registry + "/" + repository
}

// published converts the published version and digest.
func (m *migration) published(d *document, img *state.Image) {
	img.CurrentDigest = m.digest(d, "currentDigest")
	if built := m.time(d, "lastBuilt"); !built.IsZero() {
		img.LastBuilt = state.At(built)
	}
	version := get(d.root, "currentVersion")
	switch t := text(version); {
	case version == nil || isEmpty(version):
	case tagForm().MatchString(t):
		img.CurrentVersion = t
	default:
		m.warn(d.file, keyNode(d.root, "currentVersion"), fmt.Sprintf("%s: currentVersion is not carried over: invalid tag %s", d.name, describe(version)), "nothing to do; analyze asks the registry")
	}
}

// uses returns the references of an image's base images.
func (m *migration) uses(d *document, bases map[string][]*oldBase) map[string]*oldBase {
	out := map[string]*oldBase{}
	list := get(d.root, "baseImages")
	if list == nil || isEmpty(list) {
		return out
	}
	items := list.Content
	if list.Kind != yaml.SequenceNode {
		items = []*yaml.Node{list}
	}
	for _, item := range items {
		name := text(item)
		found := bases[name]
		if len(found) == 0 && name != "scratch" { // otherwise reported for its own file
			m.warn(d.file, item, fmt.Sprintf("%s: base image %s is not carried over: no state file names its reference", d.name, describe(resolve(item))), "run analyze: it reads the Dockerfile")
		}
		for _, b := range found {
			b.used = true
			out[b.ref.String()] = b
		}
	}
	return out
}

// builtOn derives the base digests of the published image from dates: whether it was built before or after its base image
// moved. They are assumptions until analyze finds evidence.
func (m *migration) builtOn(img *state.Image, used map[string]*oldBase) {
	if img.CurrentDigest == "" || img.LastBuilt.IsZero() {
		return
	}
	for ref, b := range used {
		if b.base == nil || b.base.Baseline == nil || len(b.base.Candidates) == 0 || b.moved.IsZero() || b.ref.Pinned() {
			continue
		}
		on := b.base.Baseline.Snapshot
		if !img.LastBuilt.Before(b.moved) {
			on = b.base.Candidates[0].Snapshot
		}
		img.SetBuiltOn(state.BuiltOn{Ref: ref, Snapshot: on, Evidence: state.Assumed})
	}
}

// breakCycles removes dependencies that form a cycle, which the old tool did not check.
func (m *migration) breakCycles() {
	for {
		g := graph.Build(m.cfg, m.st)
		loops := g.Cycles()
		if len(loops) == 0 {
			return
		}
		for _, loop := range loops {
			img, parent := m.st.Images[loop[0]], loop[1%len(loop)]
			for _, dep := range g.Deps(loop[0]) {
				if dep.Parent == parent {
					ref := dep.Ref.String()
					img.BaseImages = slices.DeleteFunc(img.BaseImages, func(b state.BaseUse) bool { return b.Ref == ref })
					img.BuiltOn = slices.DeleteFunc(img.BuiltOn, func(b state.BuiltOn) bool { return b.Ref == ref })
					d := m.documentOf(loop[0])
					m.warn(d.file, keyNode(d.root, "baseImages"), fmt.Sprintf("%s: base image %s is not carried over: it would close a dependency cycle (%s)", loop[0], ref, graph.PathString(loop)),
						"run analyze; if it reports the cycle too, break it in a Dockerfile")
				}
			}
		}
	}
}

func (m *migration) documentOf(name string) *document {
	for _, e := range m.entries {
		if e.name == name && e.new != nil {
			return m.stateOf(e.old)
		}
	}
	return nil
}
