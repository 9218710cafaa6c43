package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// traits are what distinguishes the providers. No other code asks which provider a source has, except for the packages that talk to
// one of them; each of those has a table like this one.
type traits struct {
	home     string                   // the public host; empty if there is none
	starts   bool                     // builds can be started
	api      func(host string) string // returns the URL of the REST API; nil for a plain git server
	page     string                   // between the repository and the branch in the URL of a file's page
	repo     func() *regexp.Regexp    // form of source.repo; nil if it is a URL or a path on the host
	repoNoun string
	repoFix  string
	keys     []string // keys of a source that other providers may not accept
	folders  []string // of workflow files, in the order in which the forge looks for one; nil if builds have none
}

const homeOfGitHub = "github.com"

var providers = map[Provider]*traits{
	GitHub: {
		starts: true, home: homeOfGitHub, api: gitHubAPI, page: "/blob/",
		repo: ownerRepo, repoNoun: "GitHub repository", repoFix: "want owner/repo; a self-hosted server goes into host",
		keys: []string{"workflow", "workflowRepo", "workflowBranch", "inputs", "updatePins", "pinFiles"}, folders: []string{".github/workflows"},
	},
	GitLab: {
		starts: true, home: "gitlab.com", api: func(host string) string { return scheme(host) + host + "/api/v4" }, page: "/-/blob/",
		repo: groupProject, repoNoun: "GitLab project", repoFix: "want group/project; a self-hosted server goes into host",
		keys: []string{"job", "variables", "workflowRepo", "workflowBranch", "inputs", "updatePins", "pinFiles"},
	},
	Gitea: {
		starts: true, api: func(host string) string { return scheme(host) + host + "/api/v1" }, page: "/src/branch/",
		repo: ownerRepo, repoNoun: "Gitea repository", repoFix: "want owner/repo; the server goes into host",
		keys: []string{"workflow", "workflowRepo", "workflowBranch", "inputs", "updatePins", "pinFiles"}, folders: []string{".forgejo/workflows", ".gitea/workflows", ".github/workflows"},
	},
	WebhookProvider: {starts: true, keys: []string{"webhook"}},
	Git:             {},
}

// Providers returns all providers, in the order in which messages and generated files list them.
func Providers() []Provider { return []Provider{GitHub, GitLab, Gitea, WebhookProvider, Git} }

// startingProviders returns the providers that can start builds, or those of them that accept a key of a source.
func startingProviders(key string) []string {
	var out []string
	for _, p := range Providers() {
		if p.traits().starts && (key == "" || slices.Contains(p.traits().keys, key)) {
			out = append(out, string(p))
		}
	}
	return out
}

// StartingProviders lists the providers that can start builds, for messages.
func StartingProviders() string {
	names := startingProviders("")
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// known reports whether there is such a provider.
func (p Provider) known() bool { return providers[p] != nil }

// traits returns the traits of a provider; those of [Git] for an unknown one.
func (p Provider) traits() *traits {
	if t := providers[p]; t != nil {
		return t
	}
	return providers[Git]
}

// WorkflowFolders returns the folders in which the forge looks for workflow files, in its order.
func (p Provider) WorkflowFolders() []string { return p.traits().folders }

// HomeHost returns the public host of a provider, or "".
func HomeHost(p Provider) string { return p.traits().home }

// ProviderAt returns the provider with a public host, or "".
func ProviderAt(host string) Provider {
	for _, p := range Providers() {
		if host != "" && HomeHost(p) == host {
			return p
		}
	}
	return ""
}

// Triggerable reports whether a build can be started: through the forge's API, or by a webhook.
func (s *Source) Triggerable() bool { return s.Provider.traits().starts }

// HasAPI reports whether the source is at a forge with an API. A plain git server has none.
func (s *Source) HasAPI() bool { return s.Provider.traits().api != nil }

// BuildHost returns the host at which builds are started.
func (s *Source) BuildHost() string {
	if s.Webhook == nil {
		return s.Host
	}
	u, err := url.Parse(s.Webhook.URL)
	if err != nil {
		return ""
	}
	return hostname.Normalize(u.Host)
}

// Builder returns the source with the repository and branch of the workflow or pipeline that builds. The Dockerfile may be in another
// repository.
func (s *Source) Builder() *Source {
	if s.WorkflowRepo == "" {
		return s
	}
	b := *s
	b.Repo, b.Branch = s.WorkflowRepo, s.WorkflowBranch
	return &b
}

// BuilderKeys returns the keys of images.yaml that set the repository and branch of [Source.Builder], for messages.
func (s *Source) BuilderKeys() (repo, branch string) {
	if s.WorkflowRepo == "" {
		return "source.repo", "source.branch"
	}
	return "source.workflowRepo", "source.workflowBranch"
}

// MissingKey returns the key of the source without which no build can be started, if it is not set.
func (s *Source) MissingKey() string {
	switch {
	case s.Provider == WebhookProvider && s.Webhook == nil:
		return "webhook"
	case s.Provider.traits().folders != nil && s.Workflow == "":
		return "workflow"
	}
	return ""
}

// WebURL returns the URL of the forge for people, "" for a plain git server.
func (s *Source) WebURL() string {
	if !s.HasAPI() {
		return ""
	}
	return scheme(s.Host) + s.Host
}

// FilePage returns the URL of the page that shows a file of a repository, given by its URL, at a forge.
func FilePage(p Provider, repo, branch, file string) string {
	return repo + p.traits().page + escapePath(branch) + "/" + escapePath(file)
}

// escapePath escapes each segment of a path.
func escapePath(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.Join(segments, "/")
}

// APIURL returns the URL of the forge's REST API, "" for a plain git server.
func (s *Source) APIURL() string {
	if api := s.Provider.traits().api; api != nil {
		return api(s.Host)
	}
	return ""
}

// gitHubAPI returns a path on the host for GitHub Enterprise Server, and the host api.SUBDOMAIN.ghe.com for GitHub Enterprise Cloud
// with data residency.
func gitHubAPI(host string) string {
	if host == homeOfGitHub || strings.HasSuffix(host, ".ghe.com") {
		return "https://api." + host
	}
	return scheme(host) + host + "/api/v3"
}

// GitURL returns the URL of the repository, without credentials. A repo that is a URL or a local path is returned as it is.
func (s *Source) GitURL() string {
	if strings.Contains(s.Repo, "://") || strings.HasPrefix(s.Repo, "/") {
		return s.Repo
	}
	return scheme(s.Host) + s.Host + "/" + s.Repo + ".git"
}

// ServerHosts returns the hosts of all forges, git servers, registries and mirrors in images.yaml, as they appear in requests, sorted.
func (c *Config) ServerHosts() []string {
	hosts := map[string]bool{}
	add := func(rawURL string) {
		if u, err := url.Parse(rawURL); err == nil && u.Host != "" {
			hosts[u.Host] = true
		}
	}
	add(c.Factory.State.URL)
	for _, mirrors := range c.Factory.Mirrors {
		for _, m := range mirrors {
			add("https://" + m)
		}
	}
	for i := range c.Images {
		img := &c.Images[i]
		registry := img.Registry
		if registry == "docker.io" {
			registry = "index.docker.io" // the host of its API
		}
		add("https://" + registry)
		if img.Managed() {
			add(img.Source.APIURL())
			add(img.Source.GitURL())
			if img.Source.Webhook != nil {
				add(img.Source.Webhook.URL)
			}
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// scheme returns https, or http for loopback hosts, which have no certificates.
func scheme(host string) string {
	if hostname.IsLoopback(host) {
		return "http://"
	}
	return "https://"
}
