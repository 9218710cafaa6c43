package describe

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// reasons returns the chain of reasons for the decision about an image: for each base its facts, the rule that applies to them
// and the decision, then the same for the image.
func (d *Describer) reasons(out *Image, img *config.Image, facts *state.Image) []Step {
	c := &chain{d: d, out: out, img: img, facts: facts}
	for i := range out.Bases {
		c.base(&out.Bases[i])
	}
	c.image()
	return c.steps
}

// chain collects the steps of one image.
type chain struct {
	d     *Describer
	out   *Image
	img   *config.Image
	facts *state.Image
	steps []Step
	ref   string // that the steps are about
}

func (c *chain) fact(place Place, digest, format string, args ...any) {
	c.steps = append(c.steps, Step{Kind: Fact, Ref: c.ref, Text: fmt.Sprintf(format, args...), Place: &place, Digest: digest})
}

// rule adds a rule, with the place in images.yaml that sets one of the keys.
func (c *chain) rule(keys []string, format string, args ...any) {
	s := Step{Kind: Rule, Ref: c.ref, Text: fmt.Sprintf(format, args...)}
	for _, key := range keys {
		if s.Place == nil {
			s.Place = c.d.inConfig(c.img, key)
		}
	}
	c.steps = append(c.steps, s)
}

func (c *chain) decide(format string, args ...any) {
	c.steps = append(c.steps, Step{Kind: Decision, Ref: c.ref, Text: fmt.Sprintf(format, args...)})
}

// base adds the steps about one reference.
func (c *chain) base(b *ImageBase) {
	c.ref = b.Ref
	for i := range b.Uses {
		u := &b.Uses[i]
		where := ""
		if u.Stage != "" {
			where = " in stage " + u.Stage
		}
		c.fact(u.Place, "", "the Dockerfile uses %s (%s%s)", Short(b.Ref), u.Kind, where)
	}
	switch {
	case b.Origin == policy.FromPin:
		c.pinned(b)
	case b.Parent != "":
		c.parent(b)
	default:
		c.upstream(b)
	}
	c.ref = ""
}

func (c *chain) pinned(b *ImageBase) {
	if b.Current != "" {
		c.fact(c.d.inState(c.d.baseFile(b.Base), "currentDigest", ""), b.Current, "the tag holds %s", state.ShortDigest(b.Current))
	}
	c.rule(nil, "the Dockerfile names a digest, which a rebuild cannot move")
	if p := b.Pin; p != nil {
		_, digest, _ := strings.Cut(p.To, "@")
		c.rule([]string{"updatePins", "rebuildDelay"}, "a pull request moves the pin to the newest digest that has ripened")
		c.decide("to be moved to %s%s", state.ShortDigest(digest), since(p.Since))
		return
	}
	switch {
	case b.Due:
		c.built(b)
		c.decide("due%s: the image is not built on the pinned digest", since(b.Since))
	case !b.Merged.IsZero():
		c.decide("left to the build that the merge starts, until %s", stamp(b.Merged))
	case !b.Until.IsZero():
		c.decide("%s ripens at %s", state.ShortDigest(b.Waiting), stamp(b.Until))
	default:
		c.decide("no rebuild for it")
	}
}

func (c *chain) built(b *ImageBase) {
	if on := b.BuiltOn; on != nil {
		c.fact(on.Place, on.Digest, "the published image is built on %s: %s", state.ShortDigest(on.Digest), on.How)
	}
}

func (c *chain) parent(b *ImageBase) {
	c.built(b)
	if b.Current != "" {
		c.fact(c.d.inState(c.d.imageFile(b.Parent), "published", b.Current), b.Current, "%s published %s", b.Parent, state.ShortDigest(b.Current))
	}
	c.rule(nil, "an image is due as soon as a parent has published another digest")
	switch {
	case b.Due:
		c.decide("due%s", since(b.Since))
	case b.Current == "":
		c.decide("no digest of %s is known yet", b.Parent)
	default:
		c.decide("not due: nothing newer")
	}
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + stamp(t)
}

// stamp returns a time to the minute, in UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func (c *chain) upstream(b *ImageBase) {
	c.built(b)
	file, after := c.d.baseFile(b.Base), false
	for i := range b.Candidates {
		candidate := &b.Candidates[i]
		if after || !hasBuilt(b.Candidates) && i > 0 || candidate.Built && candidate.Status != policy.IsBaseline && candidate.Status != policy.IsRipe {
			c.candidate(file, candidate)
		}
		after = after || candidate.Built
	}
	if len(b.Candidates) > 0 {
		c.delay()
		if held(b.Candidates) {
			c.rule(nil, "a held digest is not used until it is released")
		}
		if b.OnHeld {
			c.rule(nil, "an image that is built on a held digest leaves it for the newest older one that is ripe")
		}
		if len(b.Missing) > 0 {
			c.rule([]string{"platforms"}, "a digest that lacks a platform of the image is not used; an index is often completed one platform at a time")
		}
		if b.Unripe != "" {
			c.rule(nil, "a build with the lock would not have used the digest that the published image is built on: it was %s", b.Unripe)
		}
		if b.Untrusted != "" {
			c.rule(nil, "a digest that cannot be verified is not used")
		}
		if b.Withdrawn || b.Origin == policy.FromOlder && !b.OnHeld {
			c.rule(nil, "a withdrawn digest is not used unless it is released; an image that is built on one leaves it after %s at the latest", config.Duration(state.WithdrawalWait))
		}
	}
	switch {
	case b.Due:
		c.decide("due for %s%s", state.ShortDigest(b.Lock.Digest), since(b.Since))
	case !b.Until.IsZero():
		c.decide("%s is due at %s if the tag does not move again", state.ShortDigest(b.Waiting), stamp(b.Until))
	case b.Held && b.OnHeld:
		c.decide("not due: no other digest can be used yet")
	case b.Held:
		c.decide("not due: the newer digest is held")
	case len(b.Missing) > 0:
		c.decide("not due: the newest digest lacks %s", strings.Join(b.Missing, ", "))
	case b.Untrusted != "":
		c.decide("not due: the newest digest is not trusted")
	case b.Origin == policy.FromNowhere:
		c.decide("no digest is known yet: the registry was not asked")
	default:
		c.decide("not due: nothing newer")
	}
}

func hasBuilt(list []Candidate) bool {
	for i := range list {
		if list[i].Built {
			return true
		}
	}
	return false
}

func held(list []Candidate) bool {
	for i := range list {
		if list[i].Status == policy.IsHeld {
			return true
		}
	}
	return false
}

// candidate adds the facts about a digest that came after the one that the image is built on.
func (c *chain) candidate(file string, k *Candidate) {
	place := c.d.inState(file, "candidates", k.Digest)
	short := state.ShortDigest(k.Digest)
	c.fact(place, k.Digest, "the tag moved to %s, first seen %s", short, stamp(k.Seen))
	reason := ""
	if k.Reason != "" {
		reason = ": " + k.Reason
	}
	switch k.Status {
	case policy.IsHeld:
		c.fact(place, k.Digest, "%s was held %s%s", short, stamp(k.Held), reason)
	case policy.IsReleased:
		c.fact(place, k.Digest, "%s was released %s%s", short, stamp(k.Released), reason)
	case policy.IsIncomplete:
		c.fact(place, k.Digest, "%s lacks %s", short, strings.Join(k.Missing, ", "))
	case policy.IsUntrusted:
		c.fact(place, k.Digest, "%s could not be verified: %s", short, state.Text(k.Untrusted))
	case policy.IsWithdrawn:
		c.fact(place, k.Digest, "%s was withdrawn %s: the tag went back to an older digest", short, stamp(k.Withdrawn))
	}
}

func (c *chain) delay() {
	delay := c.img.Delay()
	switch {
	case delay == 0:
		c.rule([]string{"rebuildDelay"}, "rebuildDelay 0: a new digest is due at once")
	case c.img.RebuildPolicy == config.Mature:
		c.rule([]string{"rebuildPolicy", "pinBases", "rebuildDelay"}, "policy mature: the newest digest that was first seen %s ago or earlier is due", delay)
	default:
		c.rule([]string{"rebuildPolicy", "rebuildDelay"}, "policy settle: a digest is due %s after it was first seen; each newer one restarts the wait, for %s at most", delay, c.img.MaxDelay())
	}
}

// image adds the steps about the image itself.
func (c *chain) image() {
	dec := &c.out.Decision
	stop := cmp.Or(dec.Stop, dec.StopAhead)
	if c.facts != nil {
		c.imageFacts()
	}
	switch {
	case !c.img.Managed():
		c.rule(nil, "an external image is watched and never rebuilt")
	case !c.img.Rebuilds():
		c.rule([]string{"autoRebuild"}, "autoRebuild false: it is not rebuilt automatically")
	case dec.Status == policy.Starting, dec.Status == policy.Running:
		c.rule(nil, "one rebuild of an image at a time")
	case dec.Status == policy.Blocked:
		c.rule(nil, "every pass of promote tries again to start a recorded rebuild, for %s", config.Duration(policy.RunTimeout))
	case dec.Status == policy.Failed && dec.Until.IsZero():
		c.rule(nil, "after %d failures in a row, only a reset allows another rebuild", policy.MaxFailures)
	case dec.Status == policy.Failed:
		c.rule(nil, "a failed rebuild is repeated after %s", config.Duration(policy.RetryAfter(failuresOf(c.facts))))
	case dec.After != "":
		c.rule(nil, "parents are rebuilt first")
	case stop == policy.StopPause:
		c.pause()
	case stop == policy.StopWindow:
		c.rule([]string{"windows"}, "rebuilds start only while the windows of the image and of the factory are open")
	case stop == policy.StopInterval:
		c.rule([]string{"rebuildInterval"}, "two automatic rebuilds are at least %s apart, urgent ones and those for a release excepted", c.img.Interval())
	}
	status := strings.ToLower(string(dec.Status))
	if dec.Status == policy.OptedOut {
		status = "opted out"
	}
	text := dec.Reason
	if dec.Queued != "" {
		text += "; " + dec.Queued
	}
	c.decide("%s: %s", status, text)
}

// pause adds the pause that stops the image.
func (c *chain) pause() {
	pause, key, value := c.d.in.State.PauseOf(c.img.Name, c.d.in.Now), "all", ""
	if own, ok := c.d.in.State.Pauses.Images[c.img.Name]; ok && pause.Equal(&own) {
		key, value = "images", c.img.Name+":"
	}
	c.fact(c.d.inState(path.Join(c.d.in.StateDir, state.PauseFile), key, value), "", "%s", pause)
	c.rule(nil, "a pause keeps rebuilds from being started")
}

func failuresOf(facts *state.Image) int {
	if facts == nil || facts.Rebuild == nil {
		return 0
	}
	return facts.Rebuild.Failures
}

func (c *chain) imageFacts() {
	file := c.out.StateFile
	if c.facts.CurrentDigest != "" {
		version := ""
		if c.facts.CurrentVersion != "" {
			version = " " + c.facts.CurrentVersion
		}
		c.fact(c.d.inState(file, "currentDigest", ""), c.facts.CurrentDigest, "published%s as %s", version, state.ShortDigest(c.facts.CurrentDigest))
	}
	if !c.facts.Unpublished.IsZero() && c.facts.CurrentDigest == "" {
		c.fact(c.d.inState(file, "unpublished", ""), "", "the registry has no image of it, first seen %s", stamp(c.facts.Unpublished.Time))
	}
	if c.facts.AnalysisError != "" {
		c.fact(c.d.inState(file, "analysisError", ""), "", "the last analysis failed: %s", state.Text(c.facts.AnalysisError))
	}
	for _, u := range c.facts.Unresolved {
		place := Place{"Dockerfile", u.Line}
		if c.facts.Dockerfile != nil {
			place.File = c.facts.Dockerfile.Path
		}
		c.fact(place, "", "%s cannot be resolved: no value for %s", u.Text, strings.Join(u.Variables, ", "))
	}
	if r := c.facts.Rebuild; r != nil && (r.Status.Active() || r.Failures > 0 || r.Status == state.Unproven) {
		message := ""
		if r.Message != "" {
			message = ": " + state.Text(r.Message)
		}
		c.fact(c.d.inState(file, "rebuild", "id: "+r.ID), "", "rebuild %s, requested %s, %s%s", r.ID, stamp(r.RequestedAt.Time), r.Status.Predicate(), message)
	}
}
