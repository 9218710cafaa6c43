package draw_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/graph/formats/dot"
	"gonum.org/v1/gonum/graph/formats/dot/ast"

	"github.com/imagefactory/imagefactory/pkg/draw"
)

// hostile is a model in which every text is the same.
func hostile(text string) draw.Model {
	nodes := []draw.Node{
		{ID: "image/a" + text, Kind: draw.Managed, Label: text, Status: text, Version: text, Digest: text, Owner: text, Repository: text},
		{ID: "base/" + text, Kind: draw.Base, Label: text, Digest: text},
		{ID: "unresolved/" + text, Kind: draw.Unresolved, Label: text},
		{ID: "image/c" + text, Kind: draw.Collapsed, Label: text, Owner: text, Members: []string{text}, Statuses: []draw.StatusCount{{Status: text, Images: 1}}},
	}
	return draw.New(nodes, []draw.Edge{
		{From: "base/" + text, To: "image/a" + text, Ref: text, Kinds: []string{text, "copy"}, Pinned: true},
		{From: "unresolved/" + text, To: "image/a" + text, Ref: text}, {From: "image/a" + text, To: "image/c" + text, Ref: text, Kinds: []string{"from"}},
	})
}

// mermaidLine is what a line of our flowcharts may be: labels hold no character that could end them.
var mermaidLine = regexp.MustCompile(`^(flowchart LR|  subgraph c\d+\["[^"<>\[\]{}()|` + "`" + `]*"\]|  end| +[ib]\d+(\[|\[\[|\(\[|\{\{)"([^"<>\[\]{}()|` + "`" + `]|<br>)*"(\]|\]\]|\]\)|\}\})|` +
	`  [ib]\d+ (-->|-\.->)(\|"[^"<>\[\]{}()|` + "`" + `]*"\|)? [ib]\d+|  classDef \w+ stroke:#[0-9a-f]{6},stroke-width:2px|  class [ib0-9,]+ \w+)$`)

func FuzzTextStaysText(f *testing.F) {
	for _, text := range []string{
		"web", "", `"><script>alert(1)</script>`, "]]>", "\x00\x1b[2J\u202e\ufffe\ufffd", `\`, `\"`, "\"];x [URL=\"javascript:alert(1)\"", "a\nb", "&amp;<b>",
		`<img src=x onerror=alert(1)>`, "end", "|\"]\n  click x \"javascript:alert(1)\"", "\xff\xfe", "日本語のイメージ", strings.Repeat("x", 500), "{{}}", "a/b/c@d",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m := hostile(text)
		for _, by := range draw.Clusters() {
			var b bytes.Buffer
			o := draw.Options{Title: text, Cluster: by}
			require.NoError(t, m.SVG(&b, o))
			checkSVG(t, b.Bytes())

			b.Reset()
			require.NoError(t, m.DOT(&b, o))
			file, err := dot.Parse(&b)
			require.NoError(t, err)
			assert.Len(t, file.Graphs, 1)
			checkDOT(t, file.Graphs[0].Stmts)

			b.Reset()
			require.NoError(t, m.Mermaid(&b, o))
			for line := range strings.Lines(b.String()) {
				assert.Regexp(t, mermaidLine, strings.TrimSuffix(line, "\n"))
			}
		}
	})
}

// checkDOT fails if a statement has an attribute that we do not write, such as a URL.
func checkDOT(t *testing.T, statements []ast.Stmt) {
	t.Helper()
	for _, s := range statements {
		var attributes []*ast.Attr
		switch s := s.(type) {
		case *ast.NodeStmt:
			attributes = s.Attrs
		case *ast.EdgeStmt:
			attributes = s.Attrs
		case *ast.AttrStmt:
			attributes = s.Attrs
		case *ast.Attr:
			attributes = []*ast.Attr{s}
		case *ast.Subgraph:
			checkDOT(t, s.Stmts)
		}
		for _, a := range attributes {
			require.Contains(t, []string{"label", "shape", "style", "color", "peripheries", "fontname", "fontsize", "rankdir"}, a.Key)
		}
	}
}

// checkSVG fails unless the picture is well-formed, has only shapes and text, and refers to nothing.
func checkSVG(t *testing.T, data []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		require.Contains(t, []string{"svg", "title", "desc", "style", "g", "rect", "path", "text"}, start.Name.Local)
		for _, a := range start.Attr {
			require.False(t, strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href"), a.Name.Local)
			require.NotEqual(t, "style", a.Name.Local)
		}
	}
}

func TestSVG(t *testing.T) {
	m := fleet(15)
	var a, b bytes.Buffer
	require.NoError(t, m.SVG(&a, draw.Options{Title: "Fleet"}))
	require.NoError(t, m.SVG(&b, draw.Options{Title: "Fleet"}))
	assert.Equal(t, a.String(), b.String())
	assert.Contains(t, a.String(), "<title id=\"graph-title\">Fleet</title>\n<desc id=\"graph-desc\">15 images, 1 base image</desc>")
	assert.Contains(t, a.String(), ">service-00003</text>")
	assert.Contains(t, a.String(), "@media (prefers-color-scheme:dark)")
	assert.NotContains(t, a.String(), "http://www.w3.org/1999/xlink")
	b.Reset()
	require.NoError(t, m.SVG(&b, draw.Options{Theme: draw.Light}))
	assert.NotContains(t, b.String(), "@media")
}

func TestPNG(t *testing.T) {
	m := fleet(15)
	for theme, background := range map[draw.Theme]color.RGBA{
		draw.Auto: {0xff, 0xff, 0xff, 0xff}, draw.Light: {0xff, 0xff, 0xff, 0xff}, draw.Dark: {0x0d, 0x11, 0x17, 0xff},
	} {
		var b bytes.Buffer
		require.NoError(t, m.PNG(&b, draw.Options{Title: "Fleet", Theme: theme}))
		img, err := png.Decode(&b)
		require.NoError(t, err)
		assert.Equal(t, background, color.RGBAModel.Convert(img.At(0, 0)))
		colors := map[color.Color]int{}
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				colors[img.At(x, y)]++
			}
		}
		assert.Greater(t, len(colors), 50, "text and lines are smooth")
	}
	large := fleet(8000)
	err := large.PNG(io.Discard, draw.Options{})
	assert.ErrorContains(t, err, "8800 nodes are too many to be read (use -o svg, --collapse auto, or the NAME of an image)")
}

func TestNothingOverlaps(t *testing.T) {
	for _, n := range []int{200, 2000} {
		m := fleet(n)
		for _, by := range draw.Clusters() {
			l := m.Layout(by)
			order := slices.Clone(l.Nodes)
			slices.SortFunc(order, func(a, b draw.Box) int { return int(a.X - b.X) })
			for i, a := range order {
				for _, b := range order[i+1:] {
					if b.X >= a.X+a.W {
						break
					}
					require.False(t, a.Y < b.Y+b.H-.01 && b.Y < a.Y+a.H-.01 && b.X+b.W > a.X, "%d by %s: %v %v", n, by, a, b)
				}
			}
		}
	}
}

func TestCollapse(t *testing.T) {
	small := fleet(30)
	assert.Equal(t, small, small.Collapse(draw.Unclustered))
	for _, n := range []int{200, 2000} {
		m := fleet(n)
		for _, by := range draw.Clusters() {
			c := m.Collapse(by)
			assert.Less(t, len(c.Nodes), 200)
			images, bases := 0, 0
			for _, node := range c.Nodes {
				switch node.Kind {
				case draw.Managed:
					images++
				case draw.Base:
					bases++
				case draw.Collapsed:
					for _, id := range node.Members {
						if strings.HasPrefix(id, "base/") {
							bases++
						} else {
							images++
						}
					}
				}
			}
			assert.Equal(t, n, images, "every image is drawn, alone or with others")
			assert.Equal(t, n/10, bases)
			for _, e := range c.Edges {
				assert.False(t, e.Implied && strings.HasPrefix(e.From, "group/base/"), "base images are linked to their users")
			}
		}
	}
}

func TestCollapseOfTwins(t *testing.T) {
	nodes := []draw.Node{{ID: "base/node", Kind: draw.Base, Label: "node:22"}, {ID: "base/go", Kind: draw.Base, Label: "golang:1"}}
	var edges []draw.Edge
	for i := range 70 {
		id := fmt.Sprintf("image/%d", i)
		nodes = append(nodes, draw.Node{ID: id, Kind: draw.Managed, Label: id, Status: []string{"current", "due"}[min(i%10, 1)]})
		base := "base/node"
		if i >= 60 {
			base = "base/go"
		}
		edges = append(edges, draw.Edge{From: base, To: id, Kinds: []string{"from"}, Final: true})
	}
	edges = append(edges, draw.Edge{From: "base/go", To: "image/0", Kinds: []string{"copy"}})
	m := draw.New(nodes, edges)
	c := m.Collapse(draw.Unclustered)
	var labels []string
	for _, n := range c.Nodes {
		labels = append(labels, n.Label)
	}
	assert.Equal(t, []string{"node:22", "golang:1", "image/0", "59 images on node:22", "10 images on golang:1"}, labels)
	assert.Equal(t, []draw.StatusCount{{Status: "due", Images: 54}, {Status: "current", Images: 5}}, c.Nodes[3].Statuses)
}

func BenchmarkSVG(b *testing.B) {
	for _, n := range []int{15, 200, 2000} {
		m := fleet(n)
		for _, collapse := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d/collapsed=%t", n, collapse), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					drawn := m
					if collapse {
						drawn = m.Collapse(draw.Unclustered)
					}
					require.NoError(b, drawn.SVG(io.Discard, draw.Options{}))
				}
			})
		}
	}
}

func BenchmarkPNG(b *testing.B) {
	for _, n := range []int{15, 200, 2000} {
		m := fleet(n)
		drawn := m.Collapse(draw.Unclustered)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, drawn.PNG(io.Discard, draw.Options{}))
			}
		})
	}
}
