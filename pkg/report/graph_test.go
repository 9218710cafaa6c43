package report

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var update = flag.Bool("update", false, "write the drawings in testdata")

// TestDrawings draws the sample fleet, with statuses and digests made up, since nobody publishes it.
func TestDrawings(t *testing.T) {
	cfg, err := config.LoadFile("../../images.yaml")
	require.NoError(t, err)
	st, err := state.Load(os.DirFS("../../state"), "state")
	require.NoError(t, err)
	statuses := map[string]policy.Status{
		"base-node": policy.Running, "shop-api": policy.Waiting, "shop-worker": policy.Waiting, "invoice-pdf": policy.Waiting,
		"base-node-chromium": policy.Waiting, "payments": policy.Due, "erp-adapter": policy.Unknown, "customs-archive": policy.OptedOut,
		"ledger-db": policy.Failed, "tracking-api": policy.Held, "login": policy.Blocked,
	}
	var decisions []policy.Decision
	for _, img := range cfg.Images {
		d := policy.Decision{Image: img.Name, Status: policy.Current}
		if s, other := statuses[img.Name]; other {
			d.Status = s
		}
		decisions = append(decisions, d)
	}
	for name, img := range st.Images {
		img.CurrentDigest = digestOf(name)
	}
	for name, base := range st.Bases {
		base.CurrentDigest = digestOf(name)
	}
	fleet := Draw(cfg, st, graph.Build(cfg, st), decisions)
	around := fleet.Around([]string{"image/runtime-node"}, true, true, 0)
	for name, picture := range map[string]struct {
		model   draw.Model
		options draw.Options
	}{
		"graph-fleet": {fleet, draw.Options{Title: "Images and what they are built on"}},
		"graph-image": {around, draw.Options{Title: "runtime-node, its bases and what is built on it", Cluster: draw.ByRepository}},
	} {
		var b bytes.Buffer
		require.NoError(t, picture.model.SVG(&b, picture.options))
		file := "testdata/" + name + ".svg"
		if *update {
			require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want), b.String(), "%s is out of date: run go test ./pkg/report -run TestDrawings -update", file)
	}
}

func digestOf(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

func TestTree(t *testing.T) {
	node := func(id string, kind draw.Kind, status string) draw.Node {
		return draw.Node{ID: id, Kind: kind, Label: id, Status: status}
	}
	from := []string{"from"}
	m := draw.New([]draw.Node{
		node("alone\x1b[2J", draw.Managed, "current"), node("a", draw.Managed, "due"), node("b", draw.Managed, "failed"), node("c", draw.Managed, "optedOut"),
		node("x", draw.Managed, "unknown"), node("y", draw.Managed, "unknown"), node("node:22", draw.Base, ""), node("${BASE}", draw.Unresolved, ""),
	}, []draw.Edge{
		{From: "node:22", To: "a", Kinds: from}, {From: "a", To: "c", Kinds: from}, {From: "node:22", To: "b", Kinds: []string{"mount"}, Pinned: true},
		{From: "b", To: "a", Kinds: []string{"copy"}}, {From: "${BASE}", To: "b"}, {From: "x", To: "y", Kinds: from}, {From: "y", To: "x", Kinds: from},
	})
	var b bytes.Buffer
	require.NoError(t, Style{}.Tree(&b, &m, "a"))
	assert.Equal(t, `${BASE}  unresolved
└─ b  failed
   └─ a  due  COPY --from
      └─ c  opted out
alone`+"\ufffd"+`[2J  current
node:22
├─ a  due  (see above)
└─ b  failed  RUN --mount  pinned  (see above)
x  unknown
└─ y  unknown
   └─ x  unknown  (see above)
`, b.String())

	b.Reset()
	require.NoError(t, Style{Color: true, Width: 20}.Tree(&b, &m, "a"))
	assert.Contains(t, b.String(), "   └─ "+bold+"a"+plain+"  "+blue+"due"+plain+"  COPY…\n")
	assert.Contains(t, b.String(), "└─ b  "+red+"failed"+plain+"\n")
}
