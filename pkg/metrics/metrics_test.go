package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// everything returns a set in which every metric has a sample.
func everything(t *testing.T) *Set {
	t.Helper()
	cfg, err := config.Load(strings.NewReader("- {name: web, owner: shop, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n- {name: paused, owner: shop, repository: acme/paused}\n"), "images.yaml")
	require.NoError(t, err)
	at := state.At(now)
	st := state.New()
	st.Bases["node-22"] = &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22", LastUpdated: at}
	st.Images["web"] = &state.Image{
		Name: "web", LastBuilt: at,
		Rebuild: &state.Rebuild{ID: "r-2", Status: state.Failed, RequestedAt: at, FinishedAt: state.At(now.Add(time.Hour)), Failures: 1},
		RebuildHistory: []state.Rebuild{
			{ID: "r-0", Status: state.Succeeded, RequestedAt: at, FinishedAt: state.At(now.Add(10 * time.Minute))},
			{ID: "r-1", Status: state.Unproven, RequestedAt: at, FinishedAt: state.At(now.Add(30 * time.Minute))},
		},
	}
	st.Images["web"].CurrentDigest = "sha256:" + strings.Repeat("a", 64)
	st.ImageScans["web"] = &state.Scans{Name: "web", Digests: []state.Scan{{
		Digest: st.Images["web"].CurrentDigest, Scanner: "trivy", Severity: scan.Critical, Others: map[scan.Severity]int{scan.Low: 3},
		Findings: []state.Finding{{Finding: scan.Finding{ID: "CVE-1", Severity: scan.Critical, Package: "openssl"}}},
	}}}
	s := Fleet(&Facts{Config: cfg, State: st, Graph: graph.Build(cfg, st), Now: now, Version: "1", Decisions: []policy.Decision{{
		Image: "web", Status: policy.Failed, Since: now, Until: now.Add(time.Hour),
		Bases: []policy.BaseDecision{{Ref: "docker.io/library/node:22", Base: "node-22", Outdated: now}},
	}, {Image: "paused", Status: policy.Due, Since: now, Stop: policy.StopPause}}})
	pass := Pass{
		Command: "promote", Begin: now, End: now.Add(time.Minute), Success: true, Problems: 1,
		Requests: map[string]Requests{"docker.io": {3, 2, 76}, "ghcr.io": {1, 1, -1}}, Ended: map[state.RebuildStatus]int{state.Failed: 1},
	}
	s.Join(pass.Set())
	return s
}

// TestDocumented: docs/metrics.md lists every metric with its labels, and no other.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(imagefactory_[a-z_]+)` \\| ([^|]*?) ?\\|").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = m[2]
	}
	emitted := map[string]string{}
	for _, f := range everything(t).Families() {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		if f.Metric[0].Summary != nil {
			labels = append(labels, "`quantile`")
		}
		emitted[f.GetName()] = strings.Join(labels, ", ")
	}
	assert.Equal(t, emitted, listed)
}

func TestNamesAreGood(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(everything(t).Families()).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestVulnerabilities(t *testing.T) {
	var text strings.Builder
	require.NoError(t, everything(t).Write(&text))
	for _, line := range []string{
		`imagefactory_image_vulnerabilities{image="web",owner="shop",severity="critical",place="inherited"} 0`,
		`imagefactory_image_vulnerabilities{image="web",owner="shop",severity="critical",place="own"} 0`,
		`imagefactory_image_vulnerabilities{image="web",owner="shop",severity="critical",place="unknown"} 1`,
		`imagefactory_image_vulnerabilities{image="web",owner="shop",severity="low",place="unknown"} 3`,
		`imagefactory_image_vulnerabilities_fixable{image="web",owner="shop",severity="critical"} 0`,
	} {
		assert.Contains(t, text.String(), "\n"+line+"\n")
	}
	assert.Equal(t, 4, strings.Count(text.String(), "\nimagefactory_image_vulnerabilities{"))
	found := exposure.Exposure{Findings: []exposure.Vulnerability{{}, {}, {}}}
	for i, where := range []string{state.InBase, state.InOwn, state.InOwn} {
		found.Findings[i].Severity, found.Findings[i].Where = scan.High, where
	}
	found.Findings[0].Remedy, found.Findings[1].Remedy = exposure.ByCandidate, exposure.ByImage
	assert.Equal(t, map[scan.Severity]int{scan.High: 1}, countFixable(&found))
	assert.Equal(t, map[string]int{inherited: 1, own: 2, unknownPlace: 0}, countBySeverity(&found)[scan.High])
}

func TestDurations(t *testing.T) {
	var text strings.Builder
	require.NoError(t, everything(t).Write(&text))
	for _, line := range []string{
		`imagefactory_rebuild_duration_seconds{quantile="0.5"} 600`, `imagefactory_rebuild_duration_seconds{quantile="1"} 1800`,
		`imagefactory_rebuild_duration_seconds_sum 2400`, `imagefactory_rebuild_duration_seconds_count 2`,
		`imagefactory_image_rebuild_duration_seconds{image="web",owner="shop"} 1800`,
		`imagefactory_pass_registry_pulls_remaining{command="promote",host="docker.io"} 76`,
	} {
		assert.Contains(t, text.String(), "\n"+line+"\n")
	}
	assert.NotContains(t, text.String(), `pulls_remaining{command="promote",host="ghcr.io"}`)
}

// TestSuccess: only a successful pass says when the last success was.
func TestSuccess(t *testing.T) {
	for _, success := range []bool{true, false} {
		pass := Pass{Command: "analyze", Begin: now, End: now, Success: success}
		has := slices.ContainsFunc(pass.Set().families, func(f *dto.MetricFamily) bool {
			return f.GetName() == "imagefactory_pass_success_timestamp_seconds" && len(f.Metric) > 0
		})
		assert.Equal(t, success, has)
	}
}

func TestGatewayURLs(t *testing.T) {
	for text, want := range map[string]string{
		"http://g:9091":                           "http://g:9091/metrics/job/imagefactory",
		"https://u:p@g/prefix/":                   "https://g/prefix/metrics/job/imagefactory",
		"http://g/metrics/job/images/team/a%20b/": "http://g/metrics/job/images/team/a%20b",
		"http://g/prefix/metrics/job/images":      "http://g/prefix/metrics/job/images",
		"g:9091":                                  "",
		"ftp://g":                                 "",
		"http://g?x=1":                            "",
		"http://g/metrics/job/images/team":        "",
		"http://g/metrics/job/":                   "",
		"http://g/metrics/job/images/team//x/y":   "",
		"http://user:secret@g/%zz":                "",
	} {
		g, err := ParseGateway(text)
		if want == "" {
			require.Error(t, err, text)
			assert.NotContains(t, err.Error(), "secret")
			continue
		}
		require.NoError(t, err, text)
		assert.Equal(t, want, g.String())
	}
}

func TestCollectorVariables(t *testing.T) {
	of := func(pairs ...string) (*Collector, error) {
		return CollectorOf(func(name string) string {
			if i := slices.Index(pairs, name); i >= 0 {
				return pairs[i+1]
			}
			return ""
		}, "1")
	}
	const endpoint, own = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	c, err := of()
	require.NoError(t, err)
	assert.Nil(t, c)
	c, err = of(endpoint, "https://c.example.com/x?token=secret")
	require.NoError(t, err)
	assert.Equal(t, "https://c.example.com/x/v1/metrics", c.String(), "without query")
	c, err = of(endpoint, "http://a", own, "http://b/m", "OTEL_EXPORTER_OTLP_TIMEOUT", "500", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "250")
	require.NoError(t, err)
	assert.Equal(t, "http://b/m", c.String())
	assert.Equal(t, 250*time.Millisecond, c.timeout)
	for _, off := range [][]string{{"OTEL_SDK_DISABLED", "TRUE"}, {"OTEL_METRICS_EXPORTER", "none"}, {"OTEL_METRICS_EXPORTER", "console,prometheus"}} {
		c, err := of(append(off, endpoint, "http://c")...)
		require.NoError(t, err)
		assert.Nil(t, c, off)
	}
	for _, on := range [][]string{{"OTEL_SDK_DISABLED", "false"}, {"OTEL_METRICS_EXPORTER", "otlp"}, {"OTEL_METRICS_EXPORTER", "console, otlp"}} {
		c, err := of(append(on, endpoint, "http://c")...)
		require.NoError(t, err)
		assert.NotNil(t, c, on)
	}
	for _, wrong := range [][]string{
		{endpoint, "c:4317"}, {endpoint, "http://user:secret@c"}, {own, "x", endpoint, "http://c"},
		{endpoint, "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}, {endpoint, "http://c", "OTEL_EXPORTER_OTLP_TIMEOUT", "10s"},
		{endpoint, "http://c", "OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"}, {endpoint, "http://c", "OTEL_EXPORTER_OTLP_HEADERS", "secret"},
	} {
		_, err := of(wrong...)
		require.ErrorContains(t, err, "invalid OTEL_EXPORTER_OTLP_", wrong)
		assert.NotContains(t, err.Error(), "secret")
	}
}
