package metrics

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Collector is a receiver of OTLP metrics over HTTP.
type Collector struct {
	url      *url.URL
	headers  http.Header
	timeout  time.Duration
	gzip     bool
	resource *resourcepb.Resource
}

// CollectorOf returns the collector that the standard variables of OpenTelemetry name, and nil if they name none or switch it
// off.
func CollectorOf(getenv func(string) string, version string) (*Collector, error) {
	// of returns the name and the value of a variable: the one for metrics, else the one for all signals.
	of := func(name string) (string, string) {
		if own := "OTEL_EXPORTER_OTLP_METRICS_" + name; getenv(own) != "" {
			return own, strings.TrimSpace(getenv(own))
		}
		return "OTEL_EXPORTER_OTLP_" + name, strings.TrimSpace(getenv("OTEL_EXPORTER_OTLP_" + name))
	}
	variable, endpoint := of("ENDPOINT")
	if endpoint == "" || SwitchedOff(getenv) != "" {
		return nil, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil { // it may hold a password
		return nil, fmt.Errorf("invalid %s: want a URL without a password, such as http://collector.example.com:4318", variable)
	}
	if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", "metrics")
	}
	c := &Collector{url: u, headers: http.Header{}, timeout: pushTimeout, resource: resource(getenv, version)}
	if name, protocol := of("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("invalid %s %q: only http/protobuf is supported", name, protocol)
	}
	name, headers := of("HEADERS")
	for _, pair := range pairs(headers) {
		if pair.value == "" {
			return nil, fmt.Errorf("invalid %s: want NAME=VALUE,NAME=VALUE", name)
		}
		c.headers.Set(pair.name, pair.value)
	}
	if name, timeout := of("TIMEOUT"); timeout != "" {
		ms, err := strconv.Atoi(timeout)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("invalid %s %q: want milliseconds", name, timeout)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	switch name, compression := of("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		c.gzip = true
	default:
		return nil, fmt.Errorf("invalid %s %q: want gzip or none", name, compression)
	}
	return c, nil
}

// SwitchedOff returns the variable, with its value, that switches the export of metrics off; "" if none does.
func SwitchedOff(getenv func(string) string) string {
	if off := getenv("OTEL_SDK_DISABLED"); strings.EqualFold(off, "true") {
		return "OTEL_SDK_DISABLED=" + off
	}
	exporters := getenv("OTEL_METRICS_EXPORTER")
	for exporter := range strings.SplitSeq(exporters, ",") {
		if exporter = strings.TrimSpace(exporter); exporter == "" || exporter == "otlp" {
			return ""
		}
	}
	return "OTEL_METRICS_EXPORTER=" + exporters
}

// String returns the URL without query.
func (c *Collector) String() string { return sanitize.URL(c.url.String()) }

type pair struct{ name, value string }

// pairs splits NAME=VALUE,NAME=VALUE; values are percent-encoded.
func pairs(s string) []pair {
	var out []pair
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		value = strings.TrimSpace(value)
		if decoded, err := url.PathUnescape(value); err == nil {
			value = decoded
		}
		out = append(out, pair{name, value})
	}
	return out
}

func resource(getenv func(string) string, version string) *resourcepb.Resource {
	values := map[string]string{"service.name": "imagefactory", "service.version": version}
	names := []string{"service.name", "service.version"}
	set := func(name, value string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		values[name] = value
	}
	for _, p := range pairs(getenv("OTEL_RESOURCE_ATTRIBUTES")) {
		set(p.name, p.value)
	}
	set("service.name", cmp.Or(getenv("OTEL_SERVICE_NAME"), values["service.name"]))
	r := &resourcepb.Resource{}
	for _, name := range names {
		r.Attributes = append(r.Attributes, attribute(name, values[name]))
	}
	return r
}

// Send sends metrics as they were at a time.
func (c *Collector) Send(ctx context.Context, client *http.Client, s *Set, now time.Time) error {
	// An export request has the same encoding, and its package would link a gRPC gateway.
	body, err := proto.Marshal(&metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource: c.resource,
		ScopeMetrics: []*metricspb.ScopeMetrics{{
			Scope: &commonpb.InstrumentationScope{Name: "github.com/imagefactory/imagefactory"}, Metrics: otlpMetrics(s, now),
		}},
	}}})
	if err != nil {
		return fmt.Errorf("encoding metrics: %w", err)
	}
	header := c.headers.Clone()
	header.Set("Content-Type", "application/x-protobuf")
	if c.gzip {
		header.Set("Content-Encoding", "gzip")
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(body); err != nil {
			return fmt.Errorf("compressing metrics: %w", err)
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("compressing metrics: %w", err)
		}
		body = b.Bytes()
	}
	var secrets []string
	for name := range c.headers {
		value := c.headers.Get(name)
		_, token, _ := strings.Cut(value, " ") // after a scheme such as Bearer
		secrets = append(secrets, value, token)
	}
	if err := send(ctx, client, c.timeout, http.MethodPost, c.url.String(), header, body, func(*http.Request) {}, secrets...); err != nil {
		return fmt.Errorf("sending metrics to %s: %w", c, err)
	}
	return nil
}

func otlpMetrics(s *Set, now time.Time) []*metricspb.Metric {
	at := uint64(now.UnixNano())
	var out []*metricspb.Metric
	for _, f := range s.Families() {
		m := &metricspb.Metric{Name: f.GetName(), Description: f.GetHelp()}
		if strings.HasSuffix(m.Name, "_seconds") {
			m.Unit = "s"
		}
		if f.GetType() == dto.MetricType_SUMMARY {
			m.Data = &metricspb.Metric_Summary{Summary: otlpSummary(f, at)}
		} else {
			m.Data = &metricspb.Metric_Gauge{Gauge: otlpGauge(f, at)}
		}
		out = append(out, m)
	}
	return out
}

func otlpGauge(f *dto.MetricFamily, at uint64) *metricspb.Gauge {
	g := &metricspb.Gauge{}
	for _, m := range f.Metric {
		g.DataPoints = append(g.DataPoints, &metricspb.NumberDataPoint{
			Attributes: attributes(m), TimeUnixNano: at, Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: m.GetGauge().GetValue()},
		})
	}
	return g
}

func otlpSummary(f *dto.MetricFamily, at uint64) *metricspb.Summary {
	s := &metricspb.Summary{}
	for _, m := range f.Metric {
		point := &metricspb.SummaryDataPoint{
			Attributes: attributes(m), TimeUnixNano: at, Count: m.GetSummary().GetSampleCount(), Sum: m.GetSummary().GetSampleSum(),
		}
		for _, q := range m.GetSummary().GetQuantile() {
			point.QuantileValues = append(point.QuantileValues, &metricspb.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
		}
		s.DataPoints = append(s.DataPoints, point)
	}
	return s
}

func attributes(m *dto.Metric) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, 0, len(m.Label))
	for _, l := range m.Label {
		out = append(out, attribute(l.GetName(), l.GetValue()))
	}
	return out
}

func attribute(name, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}
