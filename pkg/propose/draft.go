package propose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/pins"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Draft is the content of a request.
type Draft struct {
	Title    string
	Body     string
	Message  string // of the commit
	Files    map[string][]byte
	Diff     string
	Pins     []policy.PinUpdate // that the files contain, by reference
	Problems []string           // of pins that cannot be moved

	images map[string][]string // new references, by image
}

// edit is a file while the draft is made.
type edit struct {
	members []*Member
	docker  bool // it is the Dockerfile of its members
}

// draft reads the files of a group at a commit and moves their pins, except to the rejected references.
func (g *Group) draft(ctx context.Context, repo forge.Repository, commit string, rejected map[string]bool) (*Draft, error) {
	files := map[string]*edit{}
	add := func(file string, m *Member, docker bool) {
		if files[file] == nil {
			files[file] = &edit{}
		}
		files[file].members = append(files[file].members, m)
		files[file].docker = files[file].docker || docker
	}
	for i := range g.Members {
		m := &g.Members[i]
		if len(m.Pins) == 0 {
			continue
		}
		add(m.Image.Source.Dockerfile, m, true)
		for _, file := range m.Image.Source.PinFiles {
			add(file, m, false)
		}
	}
	for i := range g.Members { // an image with nothing to move keeps the pins of the files that it shares
		m := &g.Members[i]
		if len(m.Pins) > 0 {
			continue
		}
		if files[m.Image.Source.Dockerfile] != nil {
			add(m.Image.Source.Dockerfile, m, true)
		}
		for _, file := range m.Image.Source.PinFiles {
			if files[file] != nil {
				add(file, m, false)
			}
		}
	}
	d := &Draft{Files: map[string][]byte{}, images: map[string][]string{}}
	missing := map[string][]pins.Problem{} // by file: the pins that are not written in it
	moved := map[state.Ref]bool{}
	found := map[string]policy.PinUpdate{} // by both references: images of different delays can move one pin to different digests
	for _, file := range slices.Sorted(maps.Keys(files)) {
		e := files[file]
		before, err := repo.ReadFile(ctx, file, commit)
		if errors.Is(err, forge.ErrNoFile) {
			d.Problems = append(d.Problems, file+": no such file on branch "+g.Source.Branch)
			continue
		}
		var unusable *forge.FileError
		if errors.As(err, &unusable) {
			d.Problems = append(d.Problems, unusable.Error())
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		result, err := e.apply(ctx, file, before, rejected)
		if err != nil {
			d.Problems = append(d.Problems, file+": "+err.Error())
			continue
		}
		for _, p := range result.Problems {
			if p.Ref != (state.Ref{}) {
				missing[file] = append(missing[file], p)
				continue
			}
			d.Problems = append(d.Problems, file+": "+p.String())
		}
		if len(result.Changes) == 0 {
			continue
		}
		d.Files[file] = result.Content
		d.Diff += udiff.Unified("a/"+file, "b/"+file, string(before), string(result.Content))
		for _, c := range result.Changes {
			moved[c.From] = moved[c.From] || !e.docker
			from, to := c.From.String(), c.To.String()
			for _, m := range e.members {
				p := m.pin(c.From)
				if p == nil {
					continue
				}
				d.images[m.Image.Name] = append(d.images[m.Image.Name], to)
				if p.To == to {
					found[from+" "+to] = *p
				}
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(missing)) {
		for _, p := range missing[file] {
			if !moved[p.Ref] { // in the bake file that gives it to the Dockerfile
				d.Problems = append(d.Problems, file+": "+p.String())
			}
		}
	}
	for name, refs := range d.images {
		d.images[name] = slices.Compact(slices.Sorted(slices.Values(refs)))
	}
	for _, from := range slices.Sorted(maps.Keys(found)) {
		d.Pins = append(d.Pins, found[from])
	}
	g.describe(d)
	return d, nil
}

// apply moves the pins of a file.
func (e *edit) apply(ctx context.Context, file string, content []byte, rejected map[string]bool) (*pins.Edit, error) {
	lock := func(ref state.Ref) state.Ref {
		to := e.target(ref)
		if rejected[to.String()] {
			return ref
		}
		return to
	}
	if !e.docker {
		return pins.File(file, content, lock)
	}
	var builds []dockerfile.Options
	for _, m := range e.members {
		s := m.Image.Source
		for _, platform := range s.Platforms {
			builds = append(builds, dockerfile.Options{BuildArgs: s.BuildArgs, Contexts: s.BuildContexts, Target: s.Target, Platform: platform})
		}
	}
	return pins.Dockerfile(ctx, content, builds, lock)
}

// target returns what a pinned reference moves to. Where several images use it, it is the digest that suits all of them: the one that
// was seen first.
func (e *edit) target(ref state.Ref) state.Ref {
	var to *policy.PinUpdate
	for _, m := range e.members {
		switch p := m.pin(ref); {
		case p != nil:
			if to == nil || p.Seen.Before(to.Seen) {
				to = p
			}
		case m.facts.Use(ref.String()) != nil:
			return ref // it stays for this image
		}
	}
	if to == nil {
		return ref
	}
	out, err := state.ParseRef(to.To)
	if err != nil {
		return ref
	}
	return out
}

func (m *Member) pin(ref state.Ref) *policy.PinUpdate {
	for i := range m.Pins {
		if m.Pins[i].From == ref.String() {
			return &m.Pins[i]
		}
	}
	return nil
}

// Marks in the text of a request, which people do not see.
const (
	pinMark    = "<!-- imagefactory:pin "
	closedMark = "<!-- imagefactory:closed -->"
	markEnd    = " -->"
	// contentTrailer ends the message of a commit: the hash of the files that it changes.
	contentTrailer = "Imagefactory-Content: "
)

const (
	namesInTitle = 3
	// titleLength is below what forges accept, so that a person can mark the request as a draft.
	titleLength = 240
	// detailLength is the length of the table, and then of the list of findings, at which they end: GitHub accepts texts of 65536
	// characters.
	detailLength = 15000
)

// shortened cuts a title.
func shortened(title string) string {
	if r := []rune(title); len(r) > titleLength {
		return string(r[:titleLength-1]) + "…"
	}
	return title
}

// describe fills in the texts of a draft.
func (g *Group) describe(d *Draft) {
	var bases []string
	for _, p := range d.Pins {
		bases = append(bases, tagOf(p.To))
	}
	bases = slices.Compact(slices.Sorted(slices.Values(bases)))
	images := slices.Sorted(maps.Keys(d.images))
	values := map[string]string{
		"bases": plural.Listed(bases, namesInTitle), "images": plural.Listed(images, namesInTitle), "branch": g.Source.Branch, "repo": g.Source.Repo,
	}
	d.Title = shortened(g.config.Fill(g.config.Title, values))
	values["details"] = g.details(d, images)
	var marks strings.Builder
	for _, p := range d.Pins {
		marks.WriteString(pinMark + p.To + markEnd + "\n")
	}
	d.Body = strings.TrimSpace(g.config.Fill(g.config.Body, values)) + "\n\n" + marks.String()
	var message strings.Builder
	message.WriteString(d.Title + "\n\n")
	for _, p := range d.Pins {
		fmt.Fprintf(&message, "%s: %s -> %s\n", tagOf(p.From), digestOf(p.From), digestOf(p.To))
	}
	d.Message = message.String() + "\n" + contentTrailer + contentOf(d.Files)
}

// details returns the part of the text that the facts make.
func (g *Group) details(d *Draft, images []string) string {
	var b strings.Builder
	b.WriteString("| Base image | From | To | Ripened |\n|---|---|---|---|\n")
	for i, p := range d.Pins {
		if b.Len() > detailLength {
			fmt.Fprintf(&b, "\nAnd %s more.\n", plural.Count(len(d.Pins)-i, "pin"))
			break
		}
		base := "`" + tagOf(p.From) + "`"
		if tagOf(p.To) != tagOf(p.From) {
			base += " → `" + tagOf(p.To) + "`"
		}
		fmt.Fprintf(&b, "| %s | `%s` | `%s` | %s |\n", base, digestOf(p.From), digestOf(p.To), cell(ripened(&p)))
	}
	for _, p := range d.Pins {
		if fixed := g.fixedBy(&p); len(fixed) > 0 && b.Len() < 2*detailLength {
			fmt.Fprintf(&b, "\n`%s` fixes %s.\n", tagOf(p.To), cell(plural.Listed(fixed, 20)))
		}
	}
	var next []string
	for i := range g.Members {
		if slices.Contains(images, g.Members[i].Image.Name) {
			next = append(next, g.Members[i].Next...)
		}
	}
	next = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(next))), func(name string) bool { return slices.Contains(images, name) })
	fmt.Fprintf(&b, "\nThe merge rebuilds %s.", plural.Listed(images, 20))
	if len(next) > 0 {
		fmt.Fprintf(&b, " Built on it, and next: %s.", plural.Listed(next, 20))
	}
	b.WriteString("\n\nThis request is brought up to date as digests ripen. A commit by anybody else on its branch stops that. " +
		"Close it to refuse these digests; the next ones get a new request.")
	return b.String()
}

// fixedBy returns the findings that a pin fixes in any image, sorted.
func (g *Group) fixedBy(p *policy.PinUpdate) []string {
	out := slices.Clone(p.Urgent)
	for i := range g.Members {
		out = append(out, g.Members[i].fixes[p.To]...)
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// ripened returns since when a digest has been known, and why it need not be known longer.
func ripened(p *policy.PinUpdate) string {
	text := "seen " + p.Seen.UTC().Format(time.DateOnly)
	if !p.Since.IsZero() {
		text += ", ripe " + p.Since.UTC().Format(time.DateOnly)
	}
	if p.Parent != "" {
		text = "published by " + p.Parent + " " + p.Seen.UTC().Format(time.DateOnly)
	}
	if p.Reason != "" {
		text += "; " + state.Text(p.Reason)
	}
	return text
}

// cell makes a text fit for a table in Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'", "@", "@\u200b").Replace(s)
}

// tagOf returns a reference without its digest, as people write it.
func tagOf(ref string) string {
	tag, _, _ := strings.Cut(ref, "@")
	return state.Short(tag)
}

func digestOf(ref string) string {
	return state.ShortDigest(digestIn(ref))
}

// contentOf returns a hash of files.
func contentOf(files map[string][]byte) string {
	h := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s\x00%d\x00", file, len(files[file]))
		h.Write(files[file])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// marked returns the references that the text of a request names.
func marked(body string) []string {
	var out []string
	for line := range strings.SplitSeq(body, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), pinMark)
		if ref, end := strings.CutSuffix(rest, markEnd); ok && end {
			out = append(out, ref)
		}
	}
	return out
}
