package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// HomeHost returns the public host of a provider, or "".
func HomeHost(p Provider) string {
	switch p {
	case GitHub:
		return "github.com"
	case GitLab:
		return "gitlab.com"
	}
	return ""
}

// WebURL returns the URL of the forge for people, "" for a plain git server.
func (s *Source) WebURL() string {
	if !s.Triggerable() {
		return ""
	}
	return scheme(s.Host) + s.Host
}

// FilePage returns the URL of the page that shows a file of a repository, given by its URL, at a forge.
func FilePage(p Provider, repo, branch, file string) string {
	view := "/blob/"
	if p == GitLab {
		view = "/-/blob/"
	}
	return repo + view + escapePath(branch) + "/" + escapePath(file)
}

// escapePath escapes each segment of a path.
func escapePath(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.Join(segments, "/")
}

// APIURL returns the URL of the forge's REST API: a path on the host for GitHub Enterprise Server, the host api.SUBDOMAIN.ghe.com for
// GitHub Enterprise Cloud with data residency, "" for a plain git server.
func (s *Source) APIURL() string {
	base := scheme(s.Host) + s.Host
	switch {
	case s.Provider == GitLab:
		return base + "/api/v4"
	case s.Provider != GitHub:
		return ""
	case s.Host == HomeHost(GitHub), strings.HasSuffix(s.Host, ".ghe.com"):
		return "https://api." + s.Host
	default:
		return base + "/api/v3"
	}
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
