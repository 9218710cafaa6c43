// Package propose moves pinned references by pull and merge requests: one for all images of a repository and branch. What is to move
// is decided by package policy, bytes are changed by package pins, and the API of the forge is that of package forge. A request is
// found again by its branch and brought up to date; nothing is remembered that the forge does not know.
package propose

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Group is what one request is for: the images that are built from one branch of a repository.
type Group struct {
	Source  *config.Source // of one of the images
	Members []Member       // sorted by name
	config  *config.PullRequests
	unsure  bool // what an image has in the open request is not known to be right, so an open one stays as it is
}

// Member is an image of a [Group].
type Member struct {
	Image *config.Image
	Pins  []policy.PinUpdate  // that are to move now
	Next  []string            // images that are built on it, directly or not
	fixes map[string][]string // findings that pins fix, by the reference that they bring
	facts *state.Image
}

// Repo names the repository for people, with its host unless that is the provider's own.
func (g *Group) Repo() string {
	if g.Source.Host == config.HomeHost(g.Source.Provider) {
		return g.Source.Repo
	}
	return g.Source.Host + "/" + g.Source.Repo
}

// Branch returns the branch of the request.
func (g *Group) Branch() string {
	return g.config.Branch + "/" + g.Source.Branch
}

// nextBranch returns the branch on which a commit is made that replaces another one. It differs from the branch of every request.
func (g *Group) nextBranch() string {
	return g.config.Branch + "-next/" + g.Source.Branch
}

// key identifies the repository.
func (g *Group) key() string { return g.Source.Host + " " + strings.ToLower(g.Source.Repo) }

// Images returns the names of the images.
func (g *Group) Images() []string {
	out := make([]string, len(g.Members))
	for i := range g.Members {
		out[i] = g.Members[i].Image.Name
	}
	return out
}

// open returns the recorded request, or nil.
func (g *Group) open() *state.PullRequest {
	for i := range g.Members {
		if r := g.Members[i].facts.PullRequest; r != nil {
			return r
		}
	}
	return nil
}

// moves reports whether a pin of any member is to move.
func (g *Group) moves() bool {
	return slices.ContainsFunc(g.Members, func(m Member) bool { return len(m.Pins) > 0 })
}

// asks reports whether the recorded request counts as open: nobody has closed it.
func (g *Group) asks() bool {
	r := g.open()
	return r != nil && r.Message != rejectedText
}

// Groups returns the groups in which a pin is to move, or whose request may be open, sorted by repository and branch. stopped
// reports whether nothing may be done for an image now: its pins stay as an open request has them.
func Groups(f *fleet.Fleet, decisions []policy.Decision, now time.Time, stopped func(*policy.Decision) bool) []Group {
	compared := f.Exposure(now)
	byKey := map[string]*Group{}
	acts := map[string]bool{}
	for i := range decisions {
		dec := &decisions[i]
		img, facts := f.Config.Find(dec.Image), f.State.Images[dec.Image]
		unreadable := facts == nil && f.State.Unreadable(state.ImagesFolder, dec.Image)
		if !img.Managed() || facts == nil && !unreadable || !img.Source.MovesPins() && (unreadable || facts.PullRequest == nil) {
			continue
		}
		key := strings.Join([]string{img.Source.Host, strings.ToLower(img.Source.Repo), img.Source.Branch}, " ") // forges ignore the case
		if byKey[key] == nil {
			byKey[key] = &Group{Source: img.Source, config: &f.Config.Factory.PullRequests}
		}
		if unreadable {
			byKey[key].unsure = true
			continue
		}
		m := Member{Image: img, Pins: dec.Pins, Next: f.Graph.Descendants(img.Name), facts: facts}
		switch halted := stopped(dec); {
		case halted || dec.PinsStop != "":
			var all bool
			m.Pins, all = recorded(f.State, dec.Pins, facts.PullRequest)
			byKey[key].unsure = byKey[key].unsure || halted && !all
		default:
			acts[key] = true
		}
		m.fixes = fixes(f, compared, &m)
		byKey[key].Members = append(byKey[key].Members, m)
	}
	var out []Group
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		if g := byKey[key]; acts[key] && (g.moves() || g.open() != nil) {
			slices.SortFunc(g.Members, func(a, b Member) int { return cmp.Compare(a.Image.Name, b.Image.Name) })
			out = append(out, *g)
		}
	}
	return out
}

// recorded returns the pins of an image as its open request has them, but for digests that are held or were withdrawn. all reports
// whether that is everything else that the request has.
func recorded(st *state.State, pins []policy.PinUpdate, r *state.PullRequest) (out []policy.PinUpdate, all bool) {
	if r == nil {
		return nil, true
	}
	refs := slices.DeleteFunc(slices.Clone(r.Pins), func(ref string) bool {
		c := candidateOf(st, ref)
		moves := slices.ContainsFunc(pins, func(p policy.PinUpdate) bool { return p.To == ref })
		return c != nil && !moves && (!c.Held.IsZero() || !c.Withdrawn.IsZero())
	})
	found := map[string]bool{}
	for _, p := range pins {
		i := slices.Index(refs, p.To)
		if i < 0 {
			i = slices.IndexFunc(refs, func(ref string) bool { return sameTag(ref, &p) })
		}
		if i < 0 {
			continue
		}
		if found[refs[i]] = true; refs[i] != p.To {
			p = policy.PinUpdate{From: p.From, To: refs[i], Base: p.Base, Parent: p.Parent, Seen: p.Seen}
			if c := candidateOf(st, p.To); c != nil {
				p.Seen = c.FirstSeen.Time
			}
		}
		out = append(out, p)
	}
	return out, len(found) == len(refs)
}

// sameTag reports whether a reference differs from the one that a pin moves to in its digest, or, for a parent, in its tag too.
func sameTag(ref string, p *policy.PinUpdate) bool {
	a, err := state.ParseRef(ref)
	b, other := state.ParseRef(p.To)
	return err == nil && other == nil && a.Registry == b.Registry && a.Repository == b.Repository && (a.Tag == b.Tag || p.Parent != "")
}

// candidateOf returns the candidate of a base image that a reference pins, or nil.
func candidateOf(st *state.State, ref string) *state.Candidate {
	r, err := state.ParseRef(ref)
	if err != nil {
		return nil
	}
	for _, base := range st.Bases {
		if base.Registry != r.Registry || base.Repository != r.Repository || base.Tag != r.Tag {
			continue
		}
		for i := range base.Candidates {
			if base.Candidates[i].Digest == r.Digest {
				return &base.Candidates[i]
			}
		}
	}
	return nil
}

func digestIn(ref string) string {
	_, digest, _ := strings.Cut(ref, "@")
	return digest
}

// fixes returns the findings of the published image that the pins of a member fix, by the reference that they bring: those that a
// candidate up to the new digest no longer has.
func fixes(f *fleet.Fleet, compared *exposure.Fleet, m *Member) map[string][]string {
	if len(m.Pins) == 0 || len(f.State.BaseScans) == 0 {
		return nil
	}
	out := map[string][]string{}
	findings := compared.Of(m.Image).Findings
	for i := range m.Pins {
		p := &m.Pins[i]
		base := f.State.Bases[p.Base]
		if base == nil {
			continue
		}
		order := func(digest string) int {
			return slices.IndexFunc(base.Candidates, func(c state.Candidate) bool { return c.Digest == digest })
		}
		for k := range findings {
			if v := &findings[k]; v.Base == p.From && v.Remedy == exposure.ByCandidate && order(v.Digest) <= order(digestIn(p.To)) {
				out[p.To] = append(out[p.To], v.ID)
			}
		}
	}
	return out
}
