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

// APIURL is where the forge has its REST API. GitHub Enterprise Server has it under the host's own name, GitHub Enterprise
// Cloud with data residency (SUBDOMAIN.ghe.com) in front of it. A plain git server has none.
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

// GitURL is the URL of the repository, without credentials. A repo that is a URL or a local path already stays.
func (s *Source) GitURL() string {
	if strings.Contains(s.Repo, "://") || strings.HasPrefix(s.Repo, "/") {
		return s.Repo
	}
	return scheme(s.Host) + s.Host + "/" + s.Repo + ".git"
}

// ServerHosts returns the hosts that images.yaml names, sorted, as requests name them: forges, git servers, registries and
// mirrors.
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
			registry = "index.docker.io" // where its API is
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
