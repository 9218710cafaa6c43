package page_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/page"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	day  = 24 * time.Hour
	node = "docker.io/library/node:22"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n+1) }

// enrolled returns the state of two images: web has been rebuilt twice, and api has failed. A newer node:22 waits.
func enrolled() *state.State {
	st := state.New()
	base := &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22"}
	base.Observe(state.Snapshot{Digest: digest(0)}, now.Add(-60*day))
	base.Observe(state.Snapshot{Digest: digest(1)}, now.Add(-20*day))
	base.Observe(state.Snapshot{Digest: digest(2)}, now.Add(-2*day))
	st.Bases["node-22"] = base
	for i, name := range []string{"web", "api"} {
		img := &state.Image{
			Name: name, Repository: "ghcr.io/acme/" + name, Dockerfile: &state.Dockerfile{Repo: "acme/" + name, Path: "Dockerfile", Digest: digest(90)},
			CurrentVersion: "1.0.0", CurrentDigest: digest(100 + i), LastBuilt: state.At(now.Add(-12 * day)),
			BaseImages: []state.BaseUse{{Ref: node, Final: true, Uses: []state.Use{{Kind: "from", Line: 1}}}},
		}
		img.SetBuiltOn(state.BuiltOn{Ref: node, Snapshot: state.Snapshot{Digest: digest(1)}, Evidence: state.Provenance})
		rebuild := func(id string, ago time.Duration, status state.RebuildStatus) state.Rebuild {
			return state.Rebuild{
				ID: id, Reason: "newer digest of node:22", RequestedAt: state.At(now.Add(-ago)), Status: status, FinishedAt: state.At(now.Add(-ago + time.Hour)),
				Bases: []state.Target{{Ref: node, Snapshot: state.Snapshot{Digest: digest(1)}}},
			}
		}
		if name == "web" {
			img.RebuildHistory = []state.Rebuild{rebuild("r1", 30*day, state.Succeeded)}
			last := rebuild("r2", 12*day, state.Succeeded)
			img.Rebuild = &last
		} else {
			last := rebuild("r3", 5*day, state.Failed)
			img.Rebuild = &last
		}
		st.Images[name] = img
	}
	return st
}

func scanned(st *state.State, image, base string) {
	set := func(all map[string]*state.Scans, name, digest string, findings ...scan.Finding) {
		if all[name] == nil {
			all[name] = &state.Scans{Name: name}
		}
		all[name].Set(state.NewScan(digest, "linux/amd64", &scan.Report{Format: scan.Trivy, Scanner: "trivy", OS: "debian 12", Findings: findings, Looked: true}, scan.High))
	}
	inherited := scan.Finding{ID: "CVE-2026-1", Severity: scan.Critical, Package: "openssl", Installed: "1", Fixed: "2"}
	own := scan.Finding{ID: "CVE-2026-2", Severity: scan.High, Package: "lodash", Installed: "1", Fixed: "2"}
	added := scan.Finding{ID: "CVE-2026-3", Severity: scan.High, Package: "curl", Installed: "1", Fixed: "2"}
	set(st.ImageScans, image, st.Images[image].CurrentDigest, inherited, own)
	set(st.BaseScans, base, digest(1), inherited)
	set(st.BaseScans, base, digest(2), added)
}

// open writes a fleet and opens it.
func open(t *testing.T, st *state.State) *fleet.Fleet {
	t.Helper()
	dir := t.TempDir()
	p := fleet.Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state"), OutDir: filepath.Join(dir, "dist")}
	const entry = "- {name: %s, registry: ghcr.io, repository: acme/%[1]s, owner: shop, source: {provider: github, repo: acme/%[1]s, workflow: build.yml}}\n"
	images := "factory:\n  state: {url: \"https://github.com/acme/factory.git\"}\ndefaults:\n  urgent: {severity: high, minAge: 7d}\nimages:\n" +
		fmt.Sprintf(entry, "web") + fmt.Sprintf(entry, "api")
	require.NoError(t, os.WriteFile(p.Config, []byte(images), 0o600))
	files, err := st.Encode()
	require.NoError(t, err)
	require.NoError(t, state.WriteFiles(p.StateDir, files))
	f, err := fleet.Open(p)
	require.NoError(t, err)
	return f
}

// write returns the page of a fleet, and its audit.
func write(t *testing.T, f *fleet.Fleet, title string) (*html.Node, *audit.Report) {
	t.Helper()
	d, err := f.Describer(now)
	require.NoError(t, err)
	r := audit.Of(&audit.Input{
		Config: f.Config, Graph: f.Graph, Facts: audit.NewFacts(f.State), Decisions: policy.Decide(f.Config, f.State, f.Graph, now), Images: []string{"web", "api"},
		From: now.Add(-90 * day), To: now, Stale: day, Coverage: audit.CoverageOf(f.State),
		Labels: func(img *config.Image) []string { return []string{"owner=" + img.Owner} },
	})
	var text strings.Builder
	require.NoError(t, page.Write(&text, d, page.Options{Title: title, Version: "1.0.0", Audit: r}))
	doc, err := html.Parse(strings.NewReader(text.String()))
	require.NoError(t, err)
	return doc, r
}

// all returns the elements for which a condition is true.
func all(doc *html.Node, match func(*html.Node) bool) []*html.Node {
	var out []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && match(n) {
			out = append(out, n)
		}
	}
	return out
}

func value(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func byID(t *testing.T, doc *html.Node, id string) *html.Node {
	t.Helper()
	found := all(doc, func(n *html.Node) bool { return value(n, "id") == id })
	require.Len(t, found, 1, id)
	return found[0]
}

func element(name string) func(*html.Node) bool {
	return func(n *html.Node) bool { return n.Data == name }
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// cells returns the texts of the rows of a table.
func cells(table *html.Node) [][]string {
	var out [][]string
	for _, body := range all(table, element("tbody")) {
		for _, tr := range all(body, element("tr")) {
			var row []string
			for _, c := range all(tr, func(n *html.Node) bool { return n.Data == "td" || n.Data == "th" }) {
				row = append(row, textOf(c))
			}
			out = append(out, row)
		}
	}
	return out
}

// TestHostile: texts of other people are texts, whatever element they try to end or begin.
func TestHostile(t *testing.T) {
	for _, hostile := range []string{
		`</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'><svg/onload=alert(1)>`, `<!--<script>`, `</title></style></textarea><iframe srcdoc=x>`, "javascript:alert(1)",
	} {
		harmless, _ := write(t, open(t, enrolled()), "title")
		st := enrolled()
		st.Images["web"].Rebuild.Reason, st.Images["web"].Rebuild.RunURL = hostile, "javascript:"+hostile
		st.Images["api"].Rebuild.Message = hostile
		st.Images["web"].CurrentVersion = hostile
		st.Bases["node-22"].Candidates[1].Hold(hostile, now)
		doc, _ := write(t, open(t, st), hostile)
		for _, name := range []string{"script", "style", "img", "iframe", "textarea", "form", "object", "link", "meta"} {
			assert.Len(t, all(doc, element(name)), len(all(harmless, element(name))), "%s in %s", name, hostile)
		}
		for _, n := range all(doc, func(*html.Node) bool { return true }) {
			for _, a := range n.Attr {
				assert.False(t, strings.HasPrefix(a.Key, "on"), "%s of <%s>", a.Key, n.Data)
			}
			if n.Data == "a" {
				assert.NotContains(t, strings.ToLower(value(n, "href")), "javascript:")
			}
		}
		assert.Contains(t, textOf(all(doc, element("title"))[0]), hostile)
		assert.Contains(t, textOf(byID(t, doc, "images")), hostile, "it is shown as it is")
	}
}

// TestWithoutScans: the page of a fleet that was never scanned says nothing of vulnerabilities.
func TestWithoutScans(t *testing.T) {
	doc, _ := write(t, open(t, enrolled()), "title")
	body := all(doc, element("main"))[0]
	assert.NotContains(t, textOf(body), "ulnerabilit")
	assert.NotContains(t, textOf(all(doc, element("nav"))[0]), "ulnerabilit")
	assert.Empty(t, all(doc, func(n *html.Node) bool { return value(n, "id") == "vulnerabilities" }))
}

// TestVulnerabilities: the card, the table and the column count what package exposure finds.
func TestVulnerabilities(t *testing.T) {
	st := enrolled()
	scanned(st, "web", "node-22")
	f := open(t, st)
	doc, _ := write(t, f, "title")
	byRemedy := map[exposure.Remedy]int{}
	found := f.Exposure(now).Of(f.Config.Find("web"))
	for i := range found.Findings {
		byRemedy[found.Findings[i].Remedy]++
	}
	require.Equal(t, map[exposure.Remedy]int{exposure.ByCandidate: 1, exposure.ByImage: 1}, byRemedy)
	require.Len(t, found.Added, 1)

	card := textOf(all(doc, func(n *html.Node) bool {
		return value(n, "class") == "card" && strings.HasPrefix(textOf(n), "Vulnerabilities")
	})[0])
	assert.Equal(t, "Vulnerabilities: 1 critical, 1 higha waiting candidate fixes1in own layers1a waiting candidate would add1images not scanned1all", card)
	var rows []string
	for _, row := range cells(byID(t, doc, "t-vulnerabilities")) {
		rows = append(rows, strings.Join(row, " | "))
	}
	assert.Equal(t, []string{
		"CVE-2026-1 | critical | openssl | 2 | 1 | 1 | 0 | a waiting candidate fixes (1) | web",
		"CVE-2026-2 | high | lodash | 2 | 1 | 0 | 1 | in own layers (1) | web",
		"CVE-2026-3 | high | curl | 2 | 0 | 0 | 0 | a waiting candidate would add it (1) | web",
	}, rows)
	images := map[string]string{}
	for _, row := range cells(byID(t, doc, "t-images")) {
		images[row[0]] = row[len(row)-1]
	}
	assert.Equal(t, map[string]string{"web": "1 critical, 1 high", "api": ""}, images)
}

// TestAudit: the summary has the numbers of the audit, and the table its rebuilds.
func TestAudit(t *testing.T) {
	doc, r := write(t, open(t, enrolled()), "title")
	require.Equal(t, 3, r.Total.Rebuilds)
	require.Equal(t, 1, r.Total.Failed)
	groups := append([]audit.Group{r.Total}, r.Groups...)
	rows := cells(byID(t, doc, "t-audit"))
	require.Len(t, rows, 2)
	for i, g := range groups {
		got := []string{rows[i][0], rows[i][1], rows[i][2], rows[i][3], rows[i][4], rows[i][8], rows[i][9]}
		want := []string{g.Name}
		for _, n := range []int{g.Images, g.Rebuilds, g.Failed, g.Waits.Changes, g.Stale, g.Unripe} {
			want = append(want, strconv.Itoa(n))
		}
		assert.Equal(t, want, got)
	}
	var rebuilds []string
	for _, row := range cells(byID(t, doc, "t-rebuilds")) {
		rebuilds = append(rebuilds, row[0]+" "+row[2])
	}
	assert.Equal(t, []string{"api failed", "web succeeded", "web succeeded"}, rebuilds, "the latest first")
	assert.Contains(t, textOf(byID(t, doc, "audit")), "Rebuilds 3")
}
