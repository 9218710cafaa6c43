package draw_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/draw"
)

// fleet returns a model of n images with as many base images as test/fleetgen gives them.
func fleet(n int) draw.Model {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	var nodes []draw.Node
	var edges []draw.Edge
	statuses := []string{"current", "current", "current", "current", "current", "waiting", "waiting", "due", "running", "failed", "optedOut"}
	for i := range max(n/10, 1) {
		nodes = append(nodes, draw.Node{ID: "base/" + strconv.Itoa(i), Kind: draw.Base, Label: fmt.Sprintf("base%d:%d.%d-slim", i%97, i/97, i%7), Digest: digest(i)})
	}
	for i := range n {
		id := fmt.Sprintf("image/service-%05d", i)
		nodes = append(nodes, draw.Node{
			ID: id, Kind: draw.Managed, Label: fmt.Sprintf("service-%05d", i), Status: statuses[r.IntN(len(statuses))], Version: "1.0." + strconv.Itoa(i),
			Digest: digest(i), Owner: "team-" + string(rune('a'+i%5)), Repository: fmt.Sprintf("github.com/acme/mono-%d", i%8),
		})
		from := "base/" + strconv.Itoa(r.IntN(max(n/10, 1)))
		if i > 0 && r.IntN(5) == 0 {
			from = fmt.Sprintf("image/service-%05d", r.IntN(i))
		}
		edges = append(edges, draw.Edge{From: from, To: id, Ref: "x", Kinds: []string{"from"}, Final: true})
		for range r.IntN(3) {
			edges = append(edges, draw.Edge{From: "base/" + strconv.Itoa(r.IntN(max(n/10, 1))), To: id, Ref: "y", Kinds: []string{[]string{"from", "copy", "mount"}[r.IntN(3)]}})
		}
	}
	return draw.New(nodes, edges)
}

func digest(i int) string { return fmt.Sprintf("sha256:%064x", uint64(i+1)*0x9e3779b97f4a7c15) }

func TestLayoutOfAnyGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "nodes")
		var nodes []draw.Node
		for i := range n {
			nodes = append(nodes, draw.Node{
				ID: strconv.Itoa(i), Label: rapid.StringN(0, 50, 200).Draw(t, "label"), Owner: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "owner"),
				Kind: rapid.SampledFrom([]draw.Kind{draw.Managed, draw.Base, draw.External, draw.Unresolved}).Draw(t, "kind"),
			})
		}
		var edges []draw.Edge
		for range rapid.IntRange(0, 80).Draw(t, "edges") {
			end := func() string { return strconv.Itoa(rapid.IntRange(0, n).Draw(t, "end")) }
			edges = append(edges, draw.Edge{From: end(), To: end()})
		}
		m := draw.New(nodes, edges)
		l := m.Layout(rapid.SampledFrom(draw.Clusters()).Draw(t, "cluster"))
		require.Len(t, l.Nodes, n)
		for i, a := range l.Nodes {
			require.GreaterOrEqual(t, a.X, 0.0)
			require.GreaterOrEqual(t, a.Y, 0.0)
			require.LessOrEqual(t, a.X+a.W, l.Width)
			require.LessOrEqual(t, a.Y+a.H, l.Height)
			for k, b := range l.Nodes[:i] {
				require.False(t, a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H-.01 && b.Y < a.Y+a.H-.01, "nodes %d and %d overlap: %v %v", k, i, a, b)
			}
		}
		for _, p := range l.Paths {
			require.Equal(t, 1, len(p.Points)%3)
			from, to := l.Nodes[p.From], l.Nodes[p.To]
			start, end := p.Points[0], p.Points[len(p.Points)-1]
			require.True(t, touches(from, start), "%v %v", from, start)
			require.True(t, touches(to, end), "%v %v", to, end)
		}
	})
}

func touches(b draw.Box, p draw.Point) bool {
	return p.X >= b.X-.01 && p.X <= b.X+b.W+.01 && p.Y >= b.Y-.01 && p.Y <= b.Y+b.H+.01
}

func TestLayoutIsDeterministic(t *testing.T) {
	for _, by := range draw.Clusters() {
		a, b := fleet(200), fleet(200)
		assert.Equal(t, a.Layout(by), b.Layout(by))
	}
}

func TestAround(t *testing.T) {
	var nodes []draw.Node
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		nodes = append(nodes, draw.Node{ID: id, Kind: draw.Managed, Label: id})
	}
	edge := func(from, to string) draw.Edge { return draw.Edge{From: from, To: to} }
	m := draw.New(nodes, []draw.Edge{edge("a", "b"), edge("b", "c"), edge("c", "d"), edge("a", "d"), edge("e", "d")})
	implied := func(m draw.Model) (out []string) {
		for _, e := range m.Edges {
			if e.Implied {
				out = append(out, e.From+e.To)
			}
		}
		return out
	}
	ids := func(m draw.Model) (out []string) {
		for _, n := range m.Nodes {
			out = append(out, n.ID)
		}
		return out
	}
	assert.Equal(t, []string{"ad"}, implied(m))
	assert.Equal(t, []string{"a", "b", "c"}, ids(m.Around([]string{"c"}, true, false, 0)))
	assert.Equal(t, []string{"c", "d"}, ids(m.Around([]string{"c"}, false, true, 0)))
	assert.Equal(t, []string{"b", "c", "d"}, ids(m.Around([]string{"c"}, true, true, 1)))
	assert.Equal(t, []string{"a", "c", "d", "e"}, ids(m.Around([]string{"d"}, true, false, 1)))
	assert.Empty(t, implied(m.Around([]string{"d"}, true, false, 1)), "an edge from which a part is left out follows from nothing")
	assert.Equal(t, []string{"a", "b", "e"}, ids(m.Around([]string{"b", "e", "x"}, true, false, 1)), "around several nodes")
	assert.Empty(t, m.Around([]string{"x"}, true, true, 0).Nodes)
}

func BenchmarkLayout(b *testing.B) {
	for _, n := range []int{15, 200, 2000} {
		m := fleet(n)
		for _, by := range []draw.Cluster{draw.Unclustered, draw.ByOwner} {
			b.Run(fmt.Sprintf("%d/%s", n, by), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					m.Layout(by)
				}
			})
		}
	}
}
