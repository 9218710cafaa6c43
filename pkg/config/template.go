package config

import (
	"slices"
	"strings"
)

// Part is an element of a template: text, or the name of a placeholder.
type Part struct{ Text, Placeholder string }

// Parts splits the value of a workflow input or a pipeline variable into text and placeholders. Unknown placeholders remain text;
// validation reports them.
func Parts(template string) []Part { return split(template, placeholders) }

func split(template string, placeholders []string) []Part {
	var parts []Part
	last := 0
	for _, m := range placeholder().FindAllStringSubmatchIndex(template, -1) {
		name := strings.TrimSpace(template[m[2]:m[3]])
		if !slices.Contains(placeholders, name) {
			continue
		}
		if m[0] > last {
			parts = append(parts, Part{Text: template[last:m[0]]})
		}
		parts = append(parts, Part{Placeholder: name})
		last = m[1]
	}
	if last < len(template) {
		parts = append(parts, Part{Text: template[last:]})
	}
	return parts
}

// Fill replaces the placeholders of a template. Placeholders within the values are not replaced.
func Fill(template string, values map[string]string) string {
	return fillParts(Parts(template), values)
}

func fillParts(parts []Part, values map[string]string) string {
	var out strings.Builder
	for _, p := range parts {
		out.WriteString(p.Text + values[p.Placeholder])
	}
	return out.String()
}

// lockPlaceholder becomes the lock of the image.
const lockPlaceholder = "lock"

// TakesLock reports whether a workflow input, a pipeline variable or a text of a webhook contains the placeholder {{lock}}.
func (s *Source) TakesLock() bool {
	for _, templates := range []map[string]string{s.Inputs, s.Variables} {
		for _, template := range templates {
			if slices.Contains(Parts(template), Part{Placeholder: lockPlaceholder}) {
				return true
			}
		}
	}
	takes := false
	s.Webhook.Texts(func(_, text string) {
		takes = takes || slices.Contains(Parts(text), Part{Placeholder: lockPlaceholder})
	})
	return takes
}

// JobVariable is the pipeline variable that holds source.job, so that a GitLab pipeline's rules can select the job.
const JobVariable = "IMAGEFACTORY_JOB"
