package migrate

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// entry is an entry of the old images.yaml during its conversion.
type entry struct {
	index   int        // position in the old list
	at      *yaml.Node // node in the old file
	old     string     // old name
	name    string     // new name
	managed bool
	fields  []field    // keys that the old tool read, those under enrollment included
	new     *yaml.Node // converted entry; nil if it is not enrolled
	kept    []pair     // keys that stay as comments
	merged  bool       // merged into an earlier entry of the same name
}

// field is a key of an entry or of its enrollment.
type field struct {
	pair
	nested bool
}

// Keys of the new images.yaml that the old one did not have. They are copied unchanged.
var (
	newKeys       = []string{"tags", "maxRebuildDelay", "rebuildPolicy"}
	newSourceKeys = []string{"host", "target", "buildArgs", "buildContexts", "platforms", "inputs", "job", "variables", "pinBases"}
)

// readEntries converts the entries of the old list in their order.
func (m *migration) readEntries(list *yaml.Node) []*entry {
	var out []*entry
	for i, n := range list.Content {
		e := &entry{index: i, at: n}
		out = append(out, e)
		raw := resolve(n)
		if raw.Kind != yaml.MappingNode {
			m.fail(n, "not enrolled: want a mapping, not "+describe(raw), "write an entry with name, registry and repository, or remove it")
			continue
		}
		m.duplicateKeys(raw)
		e.fields = m.flatten(raw)
		e.old = text(e.value("name"))
		if e.old == "" {
			m.fail(n, "not enrolled: the entry has no name", "give it one; the old tool skipped it")
			continue
		}
		if first := m.entryByName[e.old]; first != nil {
			m.merge(first, e)
			e.merged = true
			continue
		}
		m.entryByName[e.old] = e
		e.new = mapping()
	}
	names := m.newNames(out)
	for _, e := range out {
		if e.new != nil {
			e.name = names[e.old]
			m.convert(e)
		}
	}
	return out
}

func (m *migration) duplicateKeys(n *yaml.Node) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if line, twice := seen[key.Value]; twice && key.Kind == yaml.ScalarNode {
			m.warn(m.Layout.Config, key, fmt.Sprintf("duplicate key %q, first on line %d; the last one counts", key.Value, line), "check the value")
			continue
		}
		seen[key.Value] = key.Line
	}
}

// flatten merges the keys under enrollment into the entry. The entry's own keys win.
func (m *migration) flatten(n *yaml.Node) []field {
	var out []field
	top := pairs(n)
	own := func(key string) *yaml.Node {
		for _, p := range top {
			if p.key.Value == key && !isNull(p.value) {
				return p.value
			}
		}
		return nil
	}
	for _, p := range top {
		nested := resolve(p.value)
		if p.key.Value != "enrollment" || nested.Kind != yaml.MappingNode {
			if own(p.key.Value) != nil || !slices.ContainsFunc(pairs(get(n, "enrollment")), func(q pair) bool { return q.key.Value == p.key.Value }) {
				out = append(out, field{p, false})
			}
			continue
		}
		for _, q := range pairs(nested) {
			if mine := own(q.key.Value); mine == nil {
				out = append(out, field{q, true})
			} else if !equal(mine, q.value) && !isNull(q.value) {
				m.warn(m.Layout.Config, q.key, fmt.Sprintf("enrollment.%s is not carried over: the entry has %s itself", q.key.Value, q.key.Value), "check which is right")
			}
		}
	}
	return out
}

// merge merges an entry into an earlier one of the same name. As in the old tool, later keys win.
func (m *migration) merge(first, later *entry) {
	m.warn(m.Layout.Config, later.at, fmt.Sprintf("duplicate name %q, first on line %d: the entries are merged and later keys win, as in the old tool",
		later.old, first.at.Line), "if these are two images, rename one")
	for _, f := range later.fields {
		at := slices.IndexFunc(first.fields, func(g field) bool { return g.key.Value == f.key.Value })
		switch {
		case at < 0:
			first.fields = append(first.fields, f)
		case !isNull(f.value) && !equal(first.fields[at].value, f.value):
			first.kept = append(first.kept, first.fields[at].pair)
			first.fields[at] = f
		}
	}
}

func (e *entry) value(key string) *yaml.Node {
	for _, f := range e.fields {
		if f.key.Value == key && !isNull(f.value) {
			return resolve(f.value)
		}
	}
	return nil
}

// keyOf returns the node of a key, for positions.
func (e *entry) keyOf(key string) *yaml.Node {
	for _, f := range e.fields {
		if f.key.Value == key {
			return f.key
		}
	}
	return e.at
}

const maxName = 49 // of an image; see package config

// newNames keeps valid names and replaces invalid ones.
func (m *migration) newNames(entries []*entry) map[string]string {
	out, taken := map[string]string{}, map[string]bool{}
	valid := func(name string) bool { return len(name) <= maxName && len(validation.IsDNS1123Label(name)) == 0 }
	for _, e := range entries {
		if e.new != nil && valid(e.old) {
			out[e.old], taken[e.old] = e.old, true
		}
	}
	for _, e := range entries {
		if e.new == nil || out[e.old] != "" {
			continue
		}
		name := unique(slug(e.old, maxName), maxName, taken)
		out[e.old], taken[name] = name, true
		m.warn(m.Layout.Config, e.keyOf("name"), fmt.Sprintf("invalid image name %q: it is enrolled as %q", e.old, name),
			"names are lower case letters, digits and dashes, at most 49; rename it before the first synth if you want another one")
	}
	return out
}

var notInNames = lazy.Regexp(`[^a-z0-9]+`)

func slug(s string, longest int) string {
	s = strings.Trim(notInNames().ReplaceAllString(strings.ToLower(s), "-"), "-")
	if len(s) > longest {
		s = strings.Trim(s[:longest], "-")
	}
	if s == "" {
		s = "image"
	}
	return s
}

func unique(name string, longest int, taken map[string]bool) string {
	out := name
	for i := 2; taken[out]; i++ {
		end := "-" + strconv.Itoa(i)
		out = strings.TrimRight(name[:min(len(name), longest-len(end))], "-") + end
	}
	return out
}

func (e *entry) set(key string, value *yaml.Node) { e.setPair(pair{plain(key), value}) }

func (e *entry) setPair(p pair) {
	for i := 0; i+1 < len(e.new.Content); i += 2 {
		if e.new.Content[i].Value == p.key.Value {
			e.new.Content[i+1] = p.value
			return
		}
	}
	e.new.Content = append(e.new.Content, p.key, p.value)
}

// drop keeps a key as a comment and reports it.
func (m *migration) drop(e *entry, f field, why, fix string) {
	e.kept = append(e.kept, f.pair)
	m.warn(m.Layout.Config, f.key, fmt.Sprintf("%s: %s is not carried over: %s", e.old, f.key.Value, why), fix+keptAsComment)
}

const keptAsComment = "; it stays as a comment in the new images.yaml"

// convert creates the new entry, key by key in the order of the old one.
func (m *migration) convert(e *entry) {
	source := e.value("source")
	e.managed = source != nil && text(get(source, "repo")) != ""
	e.new.HeadComment, e.new.FootComment = e.at.HeadComment, e.at.FootComment
	tagsDone := false
	for _, f := range e.fields {
		key := f.key.Value
		if f.key.Kind != yaml.ScalarNode {
			m.drop(e, f, "a key must be a plain value", "correct it")
			continue
		}
		if isNull(f.value) {
			if !slices.Contains([]string{"name", "source", "local"}, key) && !known(key) {
				m.drop(e, f, "unknown key", "")
			}
			continue
		}
		switch key {
		case "name":
			name := plain(e.name)
			if e.name == e.old {
				name = clone(f.value)
				name.Tag = "!!str" // the old tool accepted the number 2048 as a name
			}
			e.setPair(pair{clone(f.key), asText(name)})
		case "registry", "repository":
			if t := text(f.value); t == "" {
				m.drop(e, f, "want a string, not "+describe(resolve(f.value)), "correct it")
			} else {
				e.setPair(pair{clone(f.key), asText(clone(f.value))})
			}
		case "source":
			m.source(e, f)
		case "rebuildDelay":
			m.delay(e, f)
		case "autoRebuild":
			m.autoRebuild(e, f)
		case "allowTags", "imageSelectionStrategy", "semverConstraint", "updates":
			if !tagsDone {
				m.tags(e)
				tagsDone = true
			}
		case "repoURL", "local":
		default:
			if slices.Contains(newKeys, key) {
				e.setPair(pair{clone(f.key), clone(f.value)})
			} else {
				m.drop(e, f, "unknown key", "use a key of the new images.yaml, or remove it")
			}
		}
	}
	if !tagsDone {
		m.tags(e)
	}
	m.where(e)
	m.local(e)
}

func known(key string) bool {
	return slices.Contains([]string{
		"registry", "repository", "rebuildDelay", "autoRebuild", "allowTags", "imageSelectionStrategy", "semverConstraint", "updates", "repoURL", "enrollment",
	}, key) || slices.Contains(newKeys, key)
}

// asText keeps a plain value as written, with quotes if YAML would not read it as a string.
func asText(n *yaml.Node) *yaml.Node {
	n.Tag = "!!str"
	return n
}

func (m *migration) delay(e *entry, f field) {
	if _, err := config.ParseDuration(text(f.value)); err != nil {
		m.drop(e, f, err.Error(), "write it as 7d or 12h; the default is 7d")
		return
	}
	e.setPair(pair{clone(f.key), clone(f.value)})
}

func (m *migration) autoRebuild(e *entry, f field) {
	var on bool
	switch strings.ToLower(text(f.value)) { // the booleans of YAML 1.1, which the old tool used
	case "true", "yes", "on":
		on = true
	case "false", "no", "off":
	default:
		m.drop(e, f, "want true or false, not "+describe(resolve(f.value)), "the default is true")
		return
	}
	if on && !e.managed {
		m.group("external autoRebuild", m.Layout.Config, f.key, "autoRebuild is left out: an external image is never rebuilt", "")
		return
	}
	if value := resolve(f.value); get(e.new, "autoRebuild") == nil {
		b := boolean(on)
		b.LineComment = value.LineComment
		e.setPair(pair{clone(f.key), b})
	}
}

// where adds the location that the old tool assumed if the entry has no repository.
func (m *migration) where(e *entry) {
	f := field{pair: pair{key: e.keyOf("repoURL"), value: e.value("repoURL")}}
	url := text(f.value)
	switch {
	case get(e.new, "repository") != nil:
		if url != "" && !strings.HasSuffix(url, "/"+text(get(e.new, "repository"))) {
			m.drop(e, f, "registry and repository already name the image", "check which is right")
		}
		return
	case url == "":
		if d := m.stateOf(e.old); d != nil {
			enrolled := get(d.root, "enrollment")
			if url = text(get(d.root, "repoURL")); url == "" && text(get(enrolled, "repository")) != "" {
				url = strings.TrimPrefix(text(get(enrolled, "registry"))+"/"+text(get(enrolled, "repository")), "/")
			}
		}
	}
	from := "its repoURL"
	if url == "" {
		if e.managed {
			return // validation reports why it cannot be enrolled
		}
		url, from = "docker.io/library/"+e.old, "the old tool used the name of the entry"
	}
	registry, repository, found := strings.Cut(url, "/")
	if !found || !strings.ContainsAny(registry, ".:") {
		registry, repository = "", url
	}
	if registry != "" && get(e.new, "registry") == nil {
		e.set("registry", plain(registry))
	}
	e.set("repository", plain(repository))
	m.warn(m.Layout.Config, e.at, fmt.Sprintf("%s: the entry has no repository; using %q (%s)", e.old, url, from), "check it")
}

// source converts the source of a managed image.
func (m *migration) source(e *entry, f field) {
	const config = "source"
	if !e.managed {
		m.drop(e, f, "it names no repo, so the old tool treated the image as external", "add source.repo if you build it")
		return
	}
	src := mapping()
	out := &entry{new: src}
	old := resolve(f.value)
	m.duplicateKeys(old)
	provider := strings.ToLower(text(get(old, "provider")))
	if provider == "" {
		provider = "github"
		out.set("provider", plain(provider))
	}
	for _, p := range pairs(old) {
		at := pair{clone(p.key), nil}
		if isNull(p.value) {
			continue
		}
		switch key := p.key.Value; key {
		case "provider":
			at.value = asText(clone(p.value))
			at.value.Value = provider
		case "repo", "branch":
			at.value = asText(clone(p.value))
		case "dockerfile":
			at.value = asText(clone(p.value))
			if clean := strings.TrimLeft(path.Clean("/"+text(p.value)), "/"); clean != text(p.value) && clean != "" && !slices.Contains(strings.Split(text(p.value), "/"), "..") {
				at.value.Value = clean
			}
		case "workflow":
			if at.value = m.workflow(e, p, provider); at.value == nil {
				continue
			}
		default:
			if slices.Contains(newSourceKeys, key) {
				at.value = clone(p.value)
				break
			}
			e.kept = append(e.kept, pair{plain(config), mapping(p)})
			m.warn(m.Layout.Config, p.key, fmt.Sprintf("%s: source.%s is not carried over: unknown key", e.old, key),
				"use a key of the new images.yaml, or remove it"+keptAsComment)
			continue
		}
		out.setPair(at)
	}
	src.LineComment = f.value.LineComment
	e.setPair(pair{clone(f.key), src})
	m.trigger(e, out, f.key, provider)
}

func (m *migration) workflow(e *entry, p pair, provider string) *yaml.Node {
	w := asText(clone(p.value))
	switch {
	case provider != "github":
		e.kept = append(e.kept, pair{plain("source"), mapping(p)})
		m.warn(m.Layout.Config, p.key, fmt.Sprintf("%s: source.workflow is not carried over: only GitHub has workflows, but the provider is %s", e.old, provider),
			"for GitLab, set source.job or source.variables"+keptAsComment)
		return nil
	case strings.Contains(w.Value, "/"):
		w.Value = path.Base(w.Value)
		m.warn(m.Layout.Config, p.key, fmt.Sprintf("%s: source.workflow is the name of a file in .github/workflows: using %q", e.old, w.Value), "")
	}
	return w
}

// trigger sets the workflow that builds the image, with the inputs of the old tool, or turns autoRebuild off.
func (m *migration) trigger(e, src *entry, at *yaml.Node, provider string) {
	switch {
	case provider == "github" && get(src.new, "workflow") == nil && e.value("local") == nil:
		m.implied(e, src, at)
	case provider == "gitlab" && get(src.new, "job") == nil && get(src.new, "variables") == nil:
		m.warn(m.Layout.Config, at, fmt.Sprintf("%s: enrolled with autoRebuild: false: the old tool could only start builds on GitHub, and the entry names no GitLab job", e.old),
			"set source.job or source.variables, and remove autoRebuild: false")
		e.set("autoRebuild", boolean(false))
	}
	if get(src.new, "workflow") == nil || provider != "github" {
		return
	}
	inputs := get(src.new, "inputs")
	switch {
	case inputs == nil:
		src.set("inputs", mapping(pair{plain("version_bump"), plain("patch")}))
	case inputs.Kind == yaml.MappingNode && get(inputs, "version_bump") == nil:
		inputs.Content = append(inputs.Content, plain("version_bump"), plain("patch"))
	}
}

// implied sets the workflow of an entry without one. The old tool wrote such a workflow into its own repository, or used one
// named after the image.
func (m *migration) implied(e, src *entry, at *yaml.Node) {
	if file := m.builtHere(e.old); file != "" {
		m.warn(m.Layout.Config, at, fmt.Sprintf("%s: enrolled with autoRebuild: false: the source has no workflow; %s in this repository builds it", e.old, file),
			"add a workflow with workflow_dispatch to the source repository, set source.workflow, and remove autoRebuild: false")
		e.set("autoRebuild", boolean(false))
		return
	}
	src.set("workflow", plain(e.old+".yml"))
	m.warn(m.Layout.Config, at, fmt.Sprintf("%s: the entry names no workflow; using %s.yml in the source repository, as the old tool did", e.old, e.old),
		"check that it exists")
}

// builtHere returns the workflow file that the old tool wrote for an image, or "".
func (m *migration) builtHere(name string) string {
	file := path.Join(m.Layout.workflows, "build-"+name+".yml")
	if !fs.ValidPath(file) || path.Dir(file) != m.Layout.workflows {
		return ""
	}
	if info, err := fs.Lstat(m.fsys, file); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return file
}

// local reports an image that the old tool built with its own workflow.
func (m *migration) local(e *entry) {
	f := field{pair: pair{key: e.keyOf("local"), value: e.value("local")}}
	if f.value == nil {
		return
	}
	src := get(e.new, "source")
	switch {
	case src == nil:
		m.drop(e, f, "an external image is not built", "remove it")
		return
	case get(src, "workflow") != nil:
		m.drop(e, f, "the old tool ignored it because source.workflow is set", "remove it")
		return
	}
	by := "the workflow that the old tool wrote"
	if file := m.builtHere(e.old); file != "" {
		by = file + " in the old state repository"
	}
	fix := "start that workflow by hand until the source repository has one with workflow_dispatch; then set source.workflow and remove autoRebuild: false"
	if dockerfile := text(get(f.value, "dockerfile")); dockerfile != "" {
		fix = fmt.Sprintf("to keep this Dockerfile, make the repository that holds %s the source (source.repo, source.dockerfile, source.workflow), and remove autoRebuild: false",
			path.Join(text(get(f.value, "dir")), dockerfile))
	}
	m.drop(e, f, "only "+by+" can build it, so it is enrolled with autoRebuild: false", fix)
	e.set("autoRebuild", boolean(false))
}

// stateOf returns the old state of an image. Of two files, the one named after the image wins, else the first.
func (m *migration) stateOf(old string) *document { return m.stateByName[old] }
