package config

import (
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// Issues are the issues at the forges about images that a person must look after.
type Issues struct {
	Provider  Provider `yaml:"provider" jsonschema:"enum=github,enum=gitlab,enum=gitea" jsonschema_description:"Kind of the forge of repo. Default: that of defaults.source."`
	Host      string   `yaml:"host" jsonschema_description:"Host of the forge of repo, if it is self-hosted."`
	Repo      string   `yaml:"repo" jsonschema_description:"Repository that receives all issues. Default: the repository that an image is built from."`
	Label     string   `yaml:"label" jsonschema:"maxLength=50" jsonschema_description:"Label by which issues are found again. Nothing else should use it. Default imagefactory."`
	Labels    []string `yaml:"labels" jsonschema_description:"Further labels of a new issue."`
	Assignees []string `yaml:"assignees" jsonschema_description:"User names that a new issue is assigned to."`
	Owners    []string `yaml:"owners" jsonschema_description:"Open issues for images of these owners only."`
	Selector  string   `yaml:"selector" jsonschema_description:"Open issues for images with these labels only, such as team=shop."`

	selector labels.Selector // nil for all images
	central  *Source         // of Repo; nil without one
}

const (
	defaultIssueLabel = "imagefactory"
	maxIssueLabel     = 50 // at GitHub
)

func (i *Issues) applyDefaults(d *SourceDefault) {
	setDefault(&i.Label, defaultIssueLabel)
	i.selector, _ = ParseSelector(i.Selector, i.Owners) // was validated
	if i.Repo != "" {
		i.central = i.source(d)
	}
}

// source returns the repository that receives all issues.
func (i *Issues) source(d *SourceDefault) *Source {
	s := &Source{Provider: i.Provider, Host: i.Host, Repo: i.Repo}
	s.applyDefaults(d)
	return s
}

// Central returns the repository that receives all issues; nil if each image's own repository receives them.
func (i *Issues) Central() *Source {
	if i == nil {
		return nil
	}
	return i.central
}

// Of returns the repository that receives the issues of an image; nil if none is opened for the image.
func (i *Issues) Of(img *Image) *Source {
	switch {
	case i == nil || !img.Managed() || i.selector != nil && !i.selector.Matches(labels.Set(img.SelectorLabels())):
		return nil
	case i.central != nil:
		return i.central
	case !img.Source.HasAPI():
		return nil
	}
	return img.Source
}

func (v *validator) issues(n *yaml.Node, at string, i *Issues) {
	if i == nil {
		return
	}
	v.scope(n, at, i.Selector, i.Owners)
	if child(n, "label") != nil && !plainName(i.Label, true) || len(i.Label) > maxIssueLabel {
		v.add(finding.BadValue, child(n, "label"), fmt.Sprintf("%s.label: invalid value %q", at, i.Label), "want up to 50 characters, without commas")
	}
	v.plainNames(n, at, map[string][]string{"labels": i.Labels, "assignees": i.Assignees})
	if child(n, "repo") == nil {
		for _, key := range []string{"provider", "host"} {
			if child(n, key) != nil {
				v.missing(n, "repo", at+" has a "+key+" and no repo")
			}
		}
		return
	}
	v.provider(child(n, "provider"), at+".provider", i.Provider)
	if i.Host != "" {
		v.check(child(n, "host"), at+".host", checkHost(i.Host))
	}
	s := i.source(&v.cfg.Defaults.Source)
	switch {
	case s.Provider == "":
		v.missing(n, "provider", at+" has a repo and no provider")
	case s.Provider.known() && !s.HasAPI():
		v.add(finding.BadValue, orNode(child(n, "provider"), n), fmt.Sprintf("%s.provider: %s has no issues", at, s.Provider), "want github, gitlab or gitea")
	default:
		v.repo(n, at, s)
	}
}

// scope checks what selects the images of a channel or of issues.
func (v *validator) scope(n *yaml.Node, at, selector string, owners []string) {
	if _, err := ParseSelector(selector, nil); err != nil {
		v.check(child(n, "selector"), at+".selector", err)
	}
	for i, owner := range owners {
		if !ownerForm().MatchString(owner) {
			v.check(item(child(n, "owners"), i), at+".owners", fmt.Errorf("invalid owner %q", owner))
		}
	}
}

// plainNames checks lists of user names and labels, by their keys.
func (v *validator) plainNames(n *yaml.Node, at string, lists map[string][]string) {
	for key, list := range lists {
		for i, name := range list {
			if !plainName(name, key == "labels") {
				v.add(finding.BadValue, item(child(n, key), i), fmt.Sprintf("%s.%s[%d]: invalid value %q", at, key, i, name), "")
			}
		}
	}
}

// plainName reports whether a forge accepts a text as a user name or a label.
func plainName(s string, label bool) bool {
	return strings.TrimSpace(s) != "" && !strings.ContainsFunc(s, unicode.IsControl) && (!label || !strings.Contains(s, ","))
}
