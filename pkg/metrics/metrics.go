// Package metrics describes a fleet and the passes over it as Prometheus metrics. It prints them in the text format, and sends
// them to a Pushgateway or, over OTLP, to a collector.
//
// Times are exported as timestamps, not as ages: an age would be wrong from the moment after it was pushed.
package metrics

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
)

// Set is a set of metrics. The zero value is empty and usable.
type Set struct{ families []*dto.MetricFamily }

// Families returns the metrics by name, without those that have no sample.
func (s *Set) Families() []*dto.MetricFamily {
	out := slices.DeleteFunc(slices.Clone(s.families), func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 })
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out
}

// Join adds the metrics of another set, which has none of the same name.
func (s *Set) Join(other *Set) { s.families = append(s.families, other.families...) }

// Write writes the metrics in Prometheus' text format.
func (s *Set) Write(w io.Writer) error { return s.encode(w, expfmt.NewFormat(expfmt.TypeTextPlain)) }

func (s *Set) encode(w io.Writer, format expfmt.Format) error {
	encoder := expfmt.NewEncoder(w, format)
	for _, f := range s.Families() {
		if err := encoder.Encode(f); err != nil {
			return fmt.Errorf("writing metric %s: %w", f.GetName(), err)
		}
	}
	return nil
}

// prefix begins the name of every metric.
const prefix = "imagefactory_"

// family is a metric to which samples are added.
type family struct{ *dto.MetricFamily }

func (s *Set) gauge(name, help string) family {
	f := &dto.MetricFamily{Name: proto.String(prefix + name), Help: proto.String(help), Type: dto.MetricType_GAUGE.Enum()}
	s.families = append(s.families, f)
	return family{f}
}

// add adds a sample. Labels are pairs of name and value.
func (f family) add(value float64, labels ...string) {
	f.Metric = append(f.Metric, &dto.Metric{Label: labelPairs(labels), Gauge: &dto.Gauge{Value: proto.Float64(value)}})
}

// at adds a sample with the seconds of a timestamp, unless it is zero.
func (f family) at(t time.Time, labels ...string) {
	if !t.IsZero() {
		f.add(float64(t.Unix()), labels...)
	}
}

func labelPairs(labels []string) []*dto.LabelPair {
	out := make([]*dto.LabelPair, 0, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		if value := strings.ToValidUTF8(labels[i+1], "\uFFFD"); value != "" {
			out = append(out, &dto.LabelPair{Name: proto.String(labels[i]), Value: proto.String(value)})
		}
	}
	return out
}
