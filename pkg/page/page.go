// Package page makes the HTML page of a fleet: one file that needs no server and loads nothing. Its script and style are inline,
// and a Content Security Policy permits these two only, by their hashes. Every text in it may come from outside.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"golang.org/x/net/html"

	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

var (
	//go:embed assets/page.css
	rules string
	//go:embed assets/page.js
	script string
)

// Options are what a page says of itself.
type Options struct {
	Title   string          // of the fleet: its repository
	Version string          // of imagefactory
	Images  map[string]bool // that the page is about; nil for all
	Audit   *audit.Report   // of these images; nil for none
}

// page is a page that is being made.
type page struct {
	Options
	describe.Input
	describer *describe.Describer
	bases     []*describe.Base              // those that it shows
	described map[string]bool               // images with details: those that it is about, and what they are built on
	exposures map[string]*exposure.Exposure // of the described images that were scanned; nil if nothing was
}

// Write writes the page of a fleet. The same descriptions give the same bytes.
func Write(w io.Writer, d *describe.Describer, o Options) error {
	p := &page{Options: o, Input: d.Input(), describer: d}
	p.choose()
	p.compare()
	data, err := p.data()
	if err != nil {
		return err
	}
	doc := &html.Node{Type: html.DocumentNode}
	doc.AppendChild(&html.Node{Type: html.DoctypeNode, Data: "html"})
	el("html", attr("lang", "en"), p.head(), p.body(data))(doc)
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	if err := b.WriteByte('\n'); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// choose leaves out what the page is not about.
func (p *page) choose() {
	p.described = map[string]bool{}
	about := func(image string) bool { return p.Images == nil || p.Images[image] }
	for i := range p.Config.Images {
		if name := p.Config.Images[i].Name; about(name) {
			p.described[name] = true
			for _, above := range p.Graph.Ancestors(name) {
				p.described[above] = true
			}
		}
	}
	for _, base := range p.Graph.Bases() {
		if slices.ContainsFunc(p.Graph.Dependents(base), func(image string) bool { return p.described[image] }) {
			p.bases = append(p.bases, p.describer.Base(base))
		}
	}
	if p.Images == nil {
		return
	}
	p.Decisions = slices.DeleteFunc(slices.Clone(p.Decisions), func(d policy.Decision) bool { return !about(d.Image) })
	p.Findings = slices.DeleteFunc(slices.Clone(p.Findings), func(f finding.Finding) bool { return f.Image != "" && !about(f.Image) })
	p.Plan = p.Plan.Only(p.Images)
}

// icon is the icon of the page: three layers.
const icon = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%230969da' d='M8 1 1 4.5 8 8l7-3.5zM1 8l7 3.5L15 8v3L8 14.5 1 11z'/%3E%3C/svg%3E"

// styles returns the style of the page: the colours of graphs as variables, and the rules that use them.
func styles() string {
	return ":root, .paper {" + draw.Variables(draw.Light) + "}\n@media (prefers-color-scheme: dark) { :root {" + draw.Variables(draw.Dark) + "} }\n" + rules
}

func (p *page) head() part {
	style := styles()
	policy := "default-src 'none'; script-src '" + hashOf(script) + "'; style-src '" + hashOf(style) + "'; img-src data:; base-uri 'none'; form-action 'none'"
	return el("head",
		el("meta", attr("charset", "utf-8")),
		el("meta", attr("http-equiv", "Content-Security-Policy"), attr("content", policy)),
		el("meta", attr("name", "viewport"), attr("content", "width=device-width, initial-scale=1")),
		el("meta", attr("name", "color-scheme"), attr("content", "light dark")),
		el("meta", attr("name", "referrer"), attr("content", "no-referrer")),
		el("meta", attr("name", "generator"), attr("content", "imagefactory "+p.Version)),
		el("title", text(p.Title+" · imagefactory")),
		el("link", attr("rel", "icon"), attr("href", icon)),
		el("style", raw(style)),
	)
}

// hashOf returns the hash of a script or style as a Content Security Policy names it.
func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (p *page) body(data []byte) part {
	sections := p.sections()
	return el("body",
		el("a", class("skip"), attr("href", "#main"), text("Skip to content")),
		p.header(sections),
		el("main", attr("id", "main"), attr("tabindex", "-1"), group(sections.parts()...)),
		el("aside", attr("id", "panel"), attr("aria-label", "Details"), attr("tabindex", "-1"), attr("hidden", "")),
		el("footer", text("Made by imagefactory "+p.Version+" "+p.sources()+". Times are UTC.")),
		el("script", attr("type", "application/json"), attr("id", "data"), raw(string(data))),
		el("script", raw(script)),
	)
}

// sources returns what the page was made of.
func (p *page) sources() string {
	if p.Audit != nil && p.Audit.Coverage.Source == "git" {
		return "from images.yaml, state and the git history of state"
	}
	return "from images.yaml and state"
}

func (p *page) header(s sections) part {
	return el("header",
		el("h1", text("imagefactory"), text(" "), el("span", text(p.Title))),
		el("nav", attr("aria-label", "Sections"), el("ul", group(s.links()...))),
		el("p", class("asof"), text("as of "), at(p.Now), text(" UTC")),
	)
}

// section is a part of the page with a heading.
type section struct {
	id, label string // label: of the link to it
	title     string
	count     int // shown beside the title; -1 for none
	content   part
}

type sections []section

func (s sections) links() []part {
	var out []part
	for _, sec := range s {
		out = append(out, el("li", el("a", attr("href", "#"+sec.id), text(sec.label))))
	}
	return out
}

func (s sections) parts() []part {
	var out []part
	for _, sec := range s {
		title := []part{attr("id", sec.id+"-title"), text(sec.title)}
		if sec.count >= 0 {
			title = append(title, text(" "), el("span", class("count"), text(strconv.Itoa(sec.count))))
		}
		out = append(out, el("section", attr("id", sec.id), attr("aria-labelledby", sec.id+"-title"), el("h2", title...), sec.content))
	}
	return out
}

func (p *page) sections() sections {
	out := sections{
		{"overview", "Overview", "Overview", -1, p.overview()},
		{"graph", "Graph", "Graph", -1, graphSection()},
		{"images", "Images", "Images", len(p.Decisions), p.images()},
		{"bases", "Bases", "Base images", len(p.bases), p.baseImages()},
	}
	if p.exposures != nil {
		list := p.spreads()
		out = append(out, section{"vulnerabilities", "Vulnerabilities", "Vulnerabilities", len(list), p.vulnerabilities(list)})
	}
	out = append(out,
		section{"upcoming", "Upcoming", "Upcoming rebuilds", len(p.Plan.Items), p.upcoming()},
		section{"findings", "Findings", "Findings", len(p.Findings), p.findings()},
	)
	if p.Audit != nil {
		out = append(out, section{"audit", "Audit", "Audit", -1, p.audit()})
	}
	return out
}

// jsonOf returns a value as JSON that cannot end the script element around it: encoding/json escapes <, > and &.
func jsonOf(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding the data of the page: %w", err)
	}
	return data, nil
}
