package loop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/loop/content"
)

const day = 24 * time.Hour

// fleet is a factory with its subjects, a registry and a forge.
type fleet struct {
	*factory
	host     string
	forge    *forge
	subjects []*subject
	held     map[string]string // digest that each tag of a base holds
	built    map[string]int    // builds so far
	rows     map[string]*row   // what was found, by subject
}

func newFleet(t *testing.T, host string, subjects []*subject) *fleet {
	l := &fleet{factory: newFactory(t), host: host, subjects: subjects, held: map[string]string{}, built: map[string]int{}, rows: map[string]*row{}}
	for _, s := range subjects {
		l.rows[s.name] = &row{}
	}
	l.forge = newForge(t, func() time.Time { return l.now })
	l.write("credentials/api/"+l.forge.host+"/token", "token")
	return l
}

// enroll writes images.yaml and the Dockerfiles. The bases must have been pushed.
func (l *fleet) enroll() {
	var b strings.Builder
	fmt.Fprintf(&b, "factory: {maxConcurrentRebuilds: 1000}\ndefaults:\n  registry: %q\n  rebuildDelay: 7d\n", l.host)
	fmt.Fprintf(&b, "  source: {provider: github, host: %q, workflow: image.yml, pinBases: true}\nimages:\n", l.forge.host)
	for _, s := range l.subjects {
		fmt.Fprintf(&b, "- name: %s\n  repository: %s\n  tags: latest\n  source:\n    repo: acme/%s\n    inputs: {image: \"{{image}}\"}\n    platforms: %s\n", s.name, s.repository(), s.name, list(s.platforms))
		for key, values := range map[string]map[string]string{"buildArgs": s.args, "buildContexts": s.contexts} {
			if len(values) > 0 {
				fmt.Fprintf(&b, "    %s:\n", key)
			}
			for _, k := range sorted(values) {
				fmt.Fprintf(&b, "      %s: %q\n", k, l.expand(values[k]))
			}
		}
		l.write("sources/"+s.name+"/Dockerfile", l.expand(s.dockerfile))
	}
	l.write("images.yaml", b.String())
}

// expand replaces the registry's host, and the digest of a pinned base.
func (l *fleet) expand(text string) string {
	return strings.NewReplacer("REGISTRY", l.host, "PINNED", l.held["pinned"]).Replace(text)
}

// push moves the tags of the bases.
func (l *fleet) push(version string) {
	l.t.Helper()
	for _, ref := range []string{baseOS, baseTool, baseData, baseUnused, frontend} {
		img := content.Image{Files: content.Shell(shell, false), Platforms: both}
		if ref == frontend {
			img = content.Image{Files: map[string]content.File{"bin/dockerfile-frontend": frontendProgram}, Entrypoint: []string{"/bin/dockerfile-frontend"}, Platforms: both}
		}
		img.Files["etc/version"] = content.Text(ref + " " + version + "\n")
		digest, err := content.Push(l.host+"/"+ref, img)
		require.NoError(l.t, err)
		l.held[ref] = digest
	}
}

// build builds a subject, with the lock or without, and publishes it.
func (l *fleet) build(s *subject, locked bool) {
	l.t.Helper()
	s.publish.run(l.newBuild(s, locked))
}

// newBuild prepares a build.
func (l *fleet) newBuild(s *subject, locked bool) *build {
	l.t.Helper()
	l.built[s.name]++
	dir := filepath.Join(l.t.TempDir(), s.name)
	require.NoError(l.t, os.MkdirAll(dir, 0o755))
	for name, text := range map[string]string{"Dockerfile": l.expand(s.dockerfile), "own": fmt.Sprintf("%s %d\n", s.name, l.built[s.name])} {
		require.NoError(l.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	b := &build{subject: s, t: l.t, fleet: l, context: dir}
	if locked {
		b.policy = l.write("policies/"+s.name+".json", l.run("pin", s.name, "-o", "source-policy"))
	}
	return b
}

// buildAll builds every subject. Children are built after their parents were analyzed.
func (l *fleet) buildAll(locked bool) {
	l.t.Helper()
	for _, children := range []bool{false, true} {
		for _, s := range l.subjects {
			if s.child() == children {
				if children && locked {
					l.analyze() // the lock of a child names the digest of its parent
				}
				l.build(s, locked)
			}
		}
	}
	l.analyze()
}

func (s *subject) child() bool { return strings.HasPrefix(s.bases[0], "acme/") }

// promote runs promote, builds what it starts with the lock, and so on until nothing is started. It returns what was started in
// each pass.
func (l *fleet) promote() [][]string {
	l.t.Helper()
	var passes [][]string
	for range 10 {
		l.run("promote", "--direct")
		runs := l.forge.waiting()
		if len(runs) == 0 {
			return passes
		}
		var names []string
		for _, r := range runs {
			name := r.inputs["image"]
			names = append(names, name)
			l.build(l.subjects[slices.IndexFunc(l.subjects, func(s *subject) bool { return s.name == name })], true)
			l.forge.end(r, "success")
		}
		slices.Sort(names)
		passes = append(passes, names)
		l.later(20 * time.Minute)
	}
	require.FailNow(l.t, "promote does not come to an end", "%v", passes)
	return nil
}

// wants checks what the published image of each subject was built on, and the evidence for it. held are the digests of the tags
// for which there can be evidence; without evidence it is those of before. It returns the evidence that was found, and the
// subjects with another digest.
func (l *fleet) wants(what string, held, before map[string]string, without evidence) (found map[string]string, wrong map[string]bool) {
	l.t.Helper()
	found, wrong = map[string]string{}, map[string]bool{}
	for _, s := range l.subjects {
		got := l.describe(s.name)
		if len(got.Bases) != len(s.bases) {
			l.t.Errorf("%s: %s: bases %v, want %v", what, s, got.Bases, s.bases)
		}
		for i, base := range s.bases {
			ref := l.host + "/" + base
			if s.pinned {
				ref += "@" + l.held["pinned"]
			}
			on := got.base(ref).BuiltOn
			want := s.others
			if i == 0 && !s.noFinal {
				want = s.final
			}
			digest := held[base]
			if want == none {
				want, digest = without, before[base]
			}
			if s.pinned {
				digest = l.held["pinned"]
			}
			if on.Evidence != string(want) {
				l.t.Errorf("%s: %s: evidence for %s: %q, want %q", what, s, base, on.Evidence, want)
			}
			switch {
			case i == 0:
				found[s.name] = on.Evidence
			case !strings.HasSuffix(found[s.name], on.Evidence):
				found[s.name] += ", others " + on.Evidence
			}
			if digest != "" && digest != on.Digest { // parents move with each build
				wrong[s.name] = true
				l.t.Errorf("%s: %s: digest of %s: %q, want %q", what, s, base, on.Digest, digest)
			}
		}
	}
	return found, wrong
}

// String names a subject in messages.
func (s *subject) String() string { return s.name + " (" + s.shows + ": " + s.publish.name + ")" }

// unproven reports whether an image gives no evidence for some base.
func (s *subject) unproven() bool {
	return s.final == none && !s.noFinal || s.others == none && (len(s.bases) > 1 || s.noFinal)
}

// TestLife plays two weeks of the fleet with each registry: tags move, builds with the lock stay on what has ripened, rebuilds
// move on when it has, and a build without the lock is found out.
func TestLife(t *testing.T) {
	for name, host := range map[string]string{"docker-registry": servers.Docker.Host, "go-containerregistry": memory} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, newFleet(t, host, subjects()))
		})
	}
}

func live(t *testing.T, l *fleet) {
	l.push("1")
	l.held["pinned"] = l.held[baseOS]
	first := clone(l.held)
	l.enroll()
	l.buildAll(false)
	l.wants("the first build", first, first, assumed)
	for name, status := range l.statuses() {
		assert.Equal(t, "current", status, name)
	}

	l.later(day)
	l.push("2")
	second := clone(l.held)
	l.analyze()
	l.later(time.Hour)
	l.buildAll(true)
	_, wrong := l.wants("a build with the lock while the new digest ripens", first, first, assumed)
	for _, s := range l.subjects {
		switch {
		case wrong[s.name]:
			l.rows[s.name].locked = "unripe"
		case s.pinned:
			l.rows[s.name].locked = "pinned"
		case len(s.upstream()) == 0:
			l.rows[s.name].locked = "newest of its parent"
		default:
			l.rows[s.name].locked = "ripe"
		}
	}
	assert.Empty(t, l.unripe(), "all builds had the lock")
	statuses := l.statuses()
	for _, s := range l.subjects {
		if !s.pinned && !s.child() {
			assert.Equal(t, "waiting", statuses[s.name], s)
		}
	}

	l.later(8 * day)
	passes := l.promote()
	found, _ := l.wants("the rebuild", second, second, recorded)
	l.checkPasses(passes)
	for _, s := range l.subjects {
		r := l.rows[s.name]
		r.evidence, r.rebuild = found[s.name], "none"
		if history := l.describe(s.name).History; len(history) > 0 {
			r.rebuild = history[0].Status
			assert.Len(t, history, 1, s)
		}
	}
	for name, status := range l.statuses() {
		assert.Equal(t, "current", status, name)
	}
	assert.Empty(t, l.unripe(), "all builds had the lock")

	l.later(day)
	l.push("3")
	third := clone(l.held)
	l.analyze()
	l.later(time.Hour)
	l.buildAll(false)
	l.wants("a build without the lock", third, second, assumed)
	l.checkUnripe()
	l.checkTable(t)
}

func clone(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// checkPasses checks that each image was started once, and children after their parents.
func (l *fleet) checkPasses(passes [][]string) {
	l.t.Helper()
	pass := map[string]int{}
	for i, names := range passes {
		for _, name := range names {
			assert.NotContains(l.t, pass, name, "started twice")
			pass[name] = i
		}
	}
	for _, s := range l.subjects {
		if s.pinned {
			assert.NotContains(l.t, pass, s.name, "no rebuild can move a pinned base")
			continue
		}
		assert.Contains(l.t, pass, s.name)
		for _, base := range s.bases {
			if parent, found := strings.CutPrefix(base, "acme/"); found {
				parent, _, _ = strings.Cut(parent, ":")
				assert.Greater(l.t, pass[s.name], pass[parent], "%s is built on %s", s.name, parent)
			}
		}
	}
}

// checkUnripe checks that audit and status show each base for which the image itself proves that it had not ripened.
func (l *fleet) checkUnripe() {
	l.t.Helper()
	unripe := l.unripe()
	for _, s := range l.subjects {
		var want []string
		for _, base := range s.shownUnripe() {
			want = append(want, l.host+"/"+base)
		}
		got := unripe[s.name]
		assert.ElementsMatch(l.t, want, got, s)
		reason, shown := l.describe(s.name).Decision.Reason, 0
		for _, base := range want {
			if strings.Contains(reason, base+" that was younger than 7d") {
				shown++
			}
		}
		assert.Equal(l.t, len(want), shown, "%s: %s", s, reason)
		l.rows[s.name].unlocked = s.unlocked(len(got))
	}
}

// unlocked says what is known of a build without the lock, for which the audit shows so many unripe bases.
func (s *subject) unlocked(shown int) string {
	switch of := len(s.upstream()); {
	case s.pinned:
		return "pinned"
	case of == 0:
		return "newest of its parent"
	case shown == 0:
		return "no proof"
	case shown < of:
		return fmt.Sprintf("unripe, %d of %d bases", shown, of)
	}
	return "unripe"
}

// TestBetweenObservations builds without the lock on a digest that the tag held between two analyses only.
func TestBetweenObservations(t *testing.T) {
	s := &subject{name: "app", shows: "FROM", dockerfile: fromOne, platforms: both[:1], publish: pushed("mode=min", ""), bases: []string{baseOS}, final: provenance, others: provenance}
	l := newFleet(t, servers.Docker.Host, []*subject{s})
	l.push("first")
	l.enroll()
	l.build(s, false)
	l.analyze()
	l.later(2 * day)
	l.push("between")
	between := clone(l.held)
	l.build(s, false)
	l.push("last")
	l.analyze()
	l.wants("a build on a digest that was not observed", between, nil, none)
	ref := l.host + "/" + baseOS
	assert.Equal(t, map[string][]string{"app": {ref}}, l.unripe())
	assert.Contains(t, l.describe("app").Decision.Reason, "built on a digest of "+ref+" that was never seen under its tag")
}

// TestFrontend moves the frontend of a Dockerfile. The lock does not name it, as the documentation says.
func TestFrontend(t *testing.T) {
	s := &subject{name: "syntax", shows: "`# syntax=`", dockerfile: fromFrontend, platforms: both[:1], publish: pushed("mode=max", ""), bases: []string{baseOS}, final: provenance, others: provenance}
	l := newFleet(t, servers.Docker.Host, []*subject{s})
	l.push("first frontend")
	first := clone(l.held)
	l.enroll()
	l.build(s, false)
	l.analyze()
	l.later(day)
	l.push("second frontend")
	l.analyze()
	l.build(s, true)
	used := materials(t, l.host+"/"+s.published())
	assert.Equal(t, first[baseOS], used[l.host+"/"+baseOS])
	assert.Equal(t, l.held[frontend], used[l.host+"/"+frontend])
}
