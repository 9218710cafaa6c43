package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

func loadMetrics(metrics string) (*config.Config, error) {
	return config.Load(strings.NewReader("images: []\nfactory:\n  metrics: "+metrics+"\n"), "images.yaml")
}

func TestMetricsAreChecked(t *testing.T) {
	for metrics, want := range map[string]string{
		"{pushgatway: x}":                  `unknown key "pushgatway" in factory.metrics (did you mean "pushgateway"?)`,
		"{pushgateway: 'gateway:9091'}":    `3:26: factory.metrics.pushgateway: invalid URL "gateway:9091": want one such as http://metrics.example.com:9091`,
		"{pushgateway: 'http://u:p@g'}":    "3:26: factory.metrics.pushgateway: the URL contains credentials; put it into a Secret",
		"{pushgateway: 'http://g?x=y'}":    "3:26: factory.metrics.pushgateway: invalid URL",
		"{pushgateway: {secret: s}}":       "3:26: factory.metrics.pushgateway: key is missing",
		"{otlp: {headers: 'a=b'}}":         "3:19: factory.metrics.otlp: endpoint is missing",
		"{otlp: {endpoint: 'grpc://c:1'}}": "3:30: factory.metrics.otlp.endpoint: invalid URL",
		"{otlp: {endpoint: 'http://c:4318', headers: 'x-scope=1, Authorization=Bearer x'}}":             "factory.metrics.otlp.headers: looks like a secret",
		"{otlp: {endpoint: 'http://c:4318'}}\n  jobs: {env: {OTEL_EXPORTER_OTLP_ENDPOINT: 'http://d'}}": "4:16: factory.jobs.env.OTEL_EXPORTER_OTLP_ENDPOINT: factory.metrics sets it",
		"{}\n  jobs: {env: {OTEL_EXPORTER_OTLP_HEADERS: api-key=x}}":                                    "looks like a secret",
	} {
		_, err := loadMetrics(metrics)
		require.ErrorContains(t, err, want, metrics)
	}
}

func TestMetricsBecomeVariables(t *testing.T) {
	cfg, err := loadMetrics("{pushgateway: {secret: s, key: url}, otlp: {endpoint: 'http://c.monitoring.svc:4318', headers: X-Scope-OrgID=shop}}\n  jobs: {env: {A: b}}")
	require.NoError(t, err)
	assert.Equal(t, map[string]*config.EnvValue{
		"A":                           {Value: "b"},
		"IMAGEFACTORY_METRICS_PUSH":   {Object: &config.ObjectKey{Secret: "s", Key: "url"}},
		"OTEL_EXPORTER_OTLP_ENDPOINT": {Value: "http://c.monitoring.svc:4318"},
		"OTEL_EXPORTER_OTLP_HEADERS":  {Value: "X-Scope-OrgID=shop"},
	}, cfg.Factory.JobEnv())
}
