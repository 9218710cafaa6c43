package monitoring

import (
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const docs = "../../docs/"

// documented returns the metrics that docs/metrics.md lists. A test of pkg/metrics holds it to what is emitted.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(docs + "metrics.md")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(imagefactory_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
	}
	require.Greater(t, len(names), 20)
	return names
}

// checkNames checks that an expression parses, and uses documented metrics only.
func checkNames(t *testing.T, known map[string]bool, expr string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	require.NoError(t, err, expr)
	selectors := 0
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			selectors++
			assert.True(t, known[v.Name], "%s: no metric %q", expr, v.Name)
		}
		return nil
	})
	assert.NotZero(t, selectors, expr)
}

func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(docs+"monitoring/alerts.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	out := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			require.NotContains(t, out, r.Alert)
			out[r.Alert] = r
		}
	}
	return out
}

func TestRules(t *testing.T) {
	known := documented(t)
	for alert, r := range rules(t) {
		checkNames(t, known, r.Expr)
		assert.NotEmpty(t, r.Annotations["summary"], alert)
		assert.NotEmpty(t, r.Annotations["description"], alert)
		assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], alert)
	}
}

// TestAlerts evaluates each rule 40 days after time zero, on series that fire and on series that do not.
func TestAlerts(t *testing.T) {
	const now = 40 * 86400
	seconds := func(ago int) string { return " " + strconv.Itoa(now-ago) }
	for alert, series := range map[string]struct{ fires, quiet string }{
		"ImageFactoryNoPass":         {`imagefactory_pass_success_timestamp_seconds{job="j",command="promote"}` + seconds(5*3600), `imagefactory_pass_success_timestamp_seconds{job="j",command="promote"}` + seconds(3600)},
		"ImageFactoryNoMetrics":      {`imagefactory_pass_timestamp_seconds{command="analyze"}` + seconds(0), `imagefactory_pass_timestamp_seconds{command="promote"}` + seconds(0)},
		"ImageFactoryPassProblems":   {`imagefactory_pass_problems{command="promote"} 2`, `imagefactory_pass_problems{command="promote"} 0`},
		"ImageFactoryRebuildBlocked": {`imagefactory_image_status{image="web",owner="shop",status="blocked"} 1`, `imagefactory_image_status{image="web",owner="shop",status="due"} 1`},
		"ImageFactoryRebuildGivenUp": {`imagefactory_image_rebuild_failures{image="web",owner="shop"} 3`, `imagefactory_image_rebuild_failures{image="web",owner="shop"} 2`},
		"ImageFactoryRebuildFailing": {`imagefactory_image_rebuild_failures{image="web",owner="shop"} 1`, `imagefactory_image_rebuild_failures{image="web",owner="shop"} 3`},
		"ImageFactoryImageStale":     {`imagefactory_image_outdated_timestamp_seconds{image="web",owner="shop"}` + seconds(31*86400), `imagefactory_image_outdated_timestamp_seconds{image="web",owner="shop"}` + seconds(29*86400)},
		"ImageFactoryRebuildOverdue": {`imagefactory_image_due_timestamp_seconds{image="web",owner="shop"}` + seconds(3*86400), `imagefactory_image_due_timestamp_seconds{image="web",owner="shop"}` + seconds(86400)},
		"ImageFactoryFixWaiting":     {`imagefactory_image_vulnerabilities_fixable{image="web",owner="shop",severity="high"} 2`, `imagefactory_image_vulnerabilities_fixable{image="web",owner="shop",severity="high"} 0`},
		"ImageFactoryRegistryBudget": {`imagefactory_pass_registry_pulls_remaining{host="docker.io"} 5`, `imagefactory_pass_registry_pulls_remaining{host="docker.io"} 80`},
		"ImageFactoryUnknown":        {`imagefactory_images{status="unknown"} 1`, `imagefactory_images{status="unknown"} 0`},
	} {
		r, ok := rules(t)[alert]
		require.True(t, ok, alert)
		if fired := evaluate(t, r.Expr, series.fires, now); assert.Len(t, fired, 1, alert) && strings.Contains(series.fires, "image=") {
			assert.Equal(t, "shop", fired[0].Metric.Get("owner"), "%s can be routed to the owner", alert)
		}
		assert.Empty(t, evaluate(t, r.Expr, series.quiet, now), alert)
	}
	assert.Len(t, rules(t), 11, "each rule is evaluated")
}

// evaluate returns the alerts that an expression gives for a series that has one value at a time.
func evaluate(t *testing.T, expr, series string, now int64) promql.Vector {
	t.Helper()
	value := series[strings.LastIndex(series, " ")+1:]
	name := strings.TrimSpace(strings.TrimSuffix(series, value))
	store := promqltest.LoadedStorage(t, "load 1d\n  "+name+" "+strings.TrimSpace(strings.Repeat(value+" ", 45))+"\n")
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	query, err := engine.NewInstantQuery(t.Context(), store, nil, expr, time.Unix(now, 0))
	require.NoError(t, err)
	defer query.Close()
	result := query.Exec(t.Context())
	require.NoError(t, result.Err)
	vector, err := result.Vector()
	require.NoError(t, err)
	return slices.Clone(vector)
}

func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(docs + "monitoring/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(data, &dashboard))
	known, taken, ids := documented(t), map[[2]int]string{}, map[int]bool{}
	assert.Equal(t, "imagefactory", dashboard.Title)
	for _, p := range dashboard.Panels {
		assert.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		assert.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			checkNames(t, known, strings.NewReplacer("$job", ".*", "$owner", ".*").Replace(target.Expr))
		}
		g := p.GridPos
		assert.LessOrEqual(t, g.X+g.W, 24, p.Title)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				assert.Empty(t, taken[[2]int{x, y}], p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	for _, m := range regexp.MustCompile(`imagefactory_[a-z_]+`).FindAllString(string(data), -1) {
		assert.True(t, known[m], m)
	}
}
