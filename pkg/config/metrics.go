package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// Metrics is where the Jobs send metrics at their end.
type Metrics struct {
	Pushgateway *EnvValue `yaml:"pushgateway" jsonschema_description:"URL of a Prometheus Pushgateway; with a password in it, a key of a Secret."`
	OTLP        OTLP      `yaml:"otlp" jsonschema_description:"OpenTelemetry collector."`
}

// OTLP is an OpenTelemetry collector that takes metrics over HTTP.
type OTLP struct {
	Endpoint string    `yaml:"endpoint" jsonschema_description:"URL, such as http://collector.example.com:4318."`
	Headers  *EnvValue `yaml:"headers" jsonschema_description:"Headers such as a tenant: NAME=VALUE,NAME=VALUE; with a token in it, a key of a Secret."`
}

// Variables of the Jobs that factory.metrics sets.
const (
	PushgatewayVariable = "IMAGEFACTORY_METRICS_PUSH"
	endpointVariable    = "OTEL_EXPORTER_OTLP_ENDPOINT"
	headersVariable     = "OTEL_EXPORTER_OTLP_HEADERS"
)

// variables returns the environment variables of the Jobs.
func (m *Metrics) variables() map[string]*EnvValue {
	out := map[string]*EnvValue{}
	if m.Pushgateway != nil {
		out[PushgatewayVariable] = m.Pushgateway
	}
	if m.OTLP.Endpoint != "" {
		out[endpointVariable] = &EnvValue{Value: m.OTLP.Endpoint}
	}
	if m.OTLP.Headers != nil {
		out[headersVariable] = m.OTLP.Headers
	}
	return out
}

// JobEnv returns the environment variables of the Jobs that factory.jobs.env and factory.metrics set.
func (f *Factory) JobEnv() map[string]*EnvValue {
	out := maps.Clone(f.Jobs.Env)
	if out == nil {
		out = map[string]*EnvValue{}
	}
	maps.Copy(out, f.Metrics.variables())
	return out
}

func (v *validator) metrics(n, env *yaml.Node) {
	f, at := &v.cfg.Factory, "factory.metrics"
	m := &f.Metrics
	v.value(child(n, "pushgateway"), at+".pushgateway", m.Pushgateway, checkMetricsURL)
	otlp := child(n, "otlp")
	if m.OTLP.Endpoint != "" {
		v.check(child(otlp, "endpoint"), at+".otlp.endpoint", checkMetricsURL(m.OTLP.Endpoint))
	} else if m.OTLP.Headers != nil {
		v.add(finding.Missing, orNode(otlp, v.root), at+".otlp: endpoint is missing", `add "endpoint"`)
	}
	v.value(child(otlp, "headers"), at+".otlp.headers", m.OTLP.Headers, func(s string) error {
		if holdsSecret("", s) || headerSecret().MatchString(s) {
			return errors.New("looks like a secret, which would be readable in git; put it into a Secret and reference it as {secret: NAME, key: KEY}")
		}
		return plainCharacters(s)
	})
	for _, name := range slices.Sorted(maps.Keys(m.variables())) {
		if _, both := f.Jobs.Env[name]; both {
			v.check(orNode(keyNode(env, name), env), "factory.jobs.env."+name, errors.New("factory.metrics sets it"))
		}
	}
}

// value checks a plain value, or the key of an object.
func (v *validator) value(n *yaml.Node, at string, e *EnvValue, check func(string) error) {
	switch {
	case e == nil:
	case e.Object != nil:
		v.objectKey(n, at, e.Object, false)
	default:
		v.check(n, at, check(e.Value))
	}
}

func checkMetricsURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil:
		return errors.New("the URL contains credentials; put it into a Secret and reference it as {secret: NAME, key: KEY}")
	case err != nil, u.Scheme != "http" && u.Scheme != "https", checkHost(u.Host) != nil, u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("invalid URL %s: want one such as http://metrics.example.com:9091", shown(s))
	}
	return plainCharacters(s)
}
