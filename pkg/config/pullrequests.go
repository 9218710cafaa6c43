package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// Defaults of [PullRequests].
const (
	defaultPinsBranch = "imagefactory/pins"
	defaultPinsTitle  = "Update pinned base images: {{bases}}"
	defaultPinsBody   = "{{details}}"
)

// requestPlaceholders are the names that the title and the body of a pull request may use between double braces.
var requestPlaceholders = []string{"bases", "images", "branch", "repo", "details"}

// Fill replaces the placeholders of the title or the body of a pull request.
func (p *PullRequests) Fill(template string, values map[string]string) string {
	return fillParts(split(template, requestPlaceholders), values)
}

func (p *PullRequests) applyDefaults() {
	setDefault(&p.Branch, defaultPinsBranch)
	setDefault(&p.Title, defaultPinsTitle)
	setDefault(&p.Body, defaultPinsBody)
	if p.MaxOpen == nil {
		most := defaultMaxOpen
		p.MaxOpen = &most
	}
}

func (v *validator) pullRequests(n *yaml.Node) {
	p := &v.cfg.Factory.PullRequests
	const at = "factory.pullRequests"
	v.branch(child(n, "branch"), at+".branch", p.Branch)
	for key, text := range map[string]string{"title": p.Title, "body": p.Body} {
		known := requestPlaceholders
		if key == "title" {
			known = known[:len(known)-1]
			if strings.ContainsFunc(text, unicode.IsControl) {
				v.add(finding.BadValue, child(n, key), at+".title: want one line", "")
			}
		}
		v.unknownPlaceholders(child(n, key), at+"."+key, text, known)
	}
	v.plainNames(n, at, map[string][]string{"labels": p.Labels, "assignees": p.Assignees, "reviewers": p.Reviewers})
	if methods := []string{"merge", "squash", "rebase"}; p.AutoMerge != "" && !slices.Contains(methods, p.AutoMerge) {
		v.add(finding.BadValue, child(n, "autoMerge"), fmt.Sprintf("%s.autoMerge: unknown way to merge %q", at, p.AutoMerge), suggest(p.AutoMerge, methods))
	}
	if p.MaxOpen != nil && *p.MaxOpen < 1 {
		v.add(finding.BadValue, child(n, "maxOpen"), at+".maxOpen: want at least 1", "")
	}
}

// updatePins checks how the pins of a source are moved.
func (v *validator) updatePins(n *yaml.Node, at string, s, effective *Source) {
	v.pinsWay(child(n, "updatePins"), at+".updatePins", s.UpdatePins)
	for i, file := range s.PinFiles {
		v.file(item(child(n, "pinFiles"), i), fmt.Sprintf("%s.pinFiles[%d]", at, i), file)
	}
	if len(s.PinFiles) > 0 && effective.UpdatePins != ByPullRequest {
		v.add(finding.BadValue, keyNode(n, "pinFiles"), at+".pinFiles: nothing moves these pins", "set updatePins: pullRequest")
	}
}

func (v *validator) pinsWay(n *yaml.Node, at string, way UpdatePins) {
	if ways := []string{string(ByPullRequest), string(NeverUpdate)}; way != "" && !slices.Contains(ways, string(way)) {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: unknown way %q", at, way), suggest(string(way), ways))
	}
}
