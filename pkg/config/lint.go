package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// Lint configures the warnings of validate and synth.
type Lint struct {
	Ignore    []Ignore `yaml:"ignore" jsonschema_description:"Warnings to ignore: a rule ID, or a rule with an image and a reason."`
	NewerTags bool     `yaml:"newerTags" jsonschema_description:"analyze also lists the tags of base images' repositories, for warnings about newer releases. Default false."`
	EndOfLife string   `yaml:"endOfLife" jsonschema_description:"File with release lines and the dates on which they end, for warnings about those that have ended; beside images.yaml or below. Or the URL of an API that validate asks, such as https://endoflife.date/api/v1."`
}

// EndOfLifeURL returns the URL of the API that EndOfLife names; empty for a file.
func (l *Lint) EndOfLifeURL() string {
	if strings.Contains(l.EndOfLife, "://") {
		return l.EndOfLife
	}
	return ""
}

// Ignore suppresses the warnings of a rule, for one image or for all.
type Ignore struct {
	Rule   string `yaml:"rule" jsonschema:"required" jsonschema_description:"ID of the rule, such as IF012. Errors cannot be ignored."`
	Image  string `yaml:"image" jsonschema_description:"Name of the image. Default: all images."`
	Reason string `yaml:"reason" jsonschema_description:"Why the warning is ignored."`

	// Line and Column are the position of the entry in images.yaml.
	Line, Column int `yaml:"-"`
}

func (i *Ignore) setScalar(rule string) { *i = Ignore{Rule: rule} }

// JSONSchemaExtend adds the short form, a rule ID.
func (Ignore) JSONSchemaExtend(s *jsonschema.Schema) {
	object := *s
	rule := &jsonschema.Schema{Type: "string"}
	for _, id := range warnings() {
		rule.Enum = append(rule.Enum, id)
	}
	if p, ok := object.Properties.Get("rule"); ok {
		p.Enum = rule.Enum
	}
	*s = jsonschema.Schema{OneOf: []*jsonschema.Schema{rule, &object}, Description: "A rule ID, or a rule with an image and a reason."}
}

// warnings returns the IDs of the rules that can be ignored.
func warnings() []string {
	var ids []string
	for _, r := range finding.Rules() {
		if r.Severity == finding.Warning {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (v *validator) lint(n *yaml.Node) {
	if at := v.cfg.Factory.Lint.EndOfLifeURL(); at != "" {
		v.check(child(n, "endOfLife"), "factory.lint.endOfLife", checkServiceURL(at, "https://endoflife.date/api/v1"))
	}
	list := child(n, "ignore")
	for i := range v.cfg.Factory.Lint.Ignore {
		entry, at := &v.cfg.Factory.Lint.Ignore[i], item(list, i)
		if at == nil {
			return // reported by the decoder
		}
		entry.Line, entry.Column = at.Line, at.Column
		path := fmt.Sprintf("factory.lint.ignore[%d]", i)
		at = orNode(child(at, "rule"), at)
		known := slices.IndexFunc(finding.Rules(), func(r finding.Rule) bool { return r.ID == entry.Rule })
		switch {
		case entry.Rule == "":
			v.add(finding.Missing, at, path+": rule is missing", "such as IF012")
		case known < 0:
			v.add(finding.BadValue, at, fmt.Sprintf("%s: unknown rule %q", path, entry.Rule), suggest(entry.Rule, warnings()))
		case finding.Rules()[known].Severity == finding.Error:
			v.add(finding.BadValue, at, fmt.Sprintf("%s: %s is an error and cannot be ignored", path, entry.Rule), "remove the entry and fix the error")
		}
	}
}
