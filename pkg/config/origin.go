package config

import (
	"net/url"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// OriginURL returns the URL at which CI, the Jobs and Argo CD reach the remote origin of a checkout, given its https URL.
// factory.state.url is that URL if it is of the same repository. An ssh remote does not name the scheme and the port of the web
// server: they are those of factory.state.url or of an enrolled source, if the host has the same name. Otherwise guessed is true.
func (c *Config) OriginURL(origin string, ssh bool) (repoURL string, guessed bool) {
	state := c.Factory.State.URL
	at, err := url.Parse(origin)
	if err != nil || !ssh && !hostname.SameRepository(origin, state) {
		return origin, false
	}
	if u, err := url.Parse(state); err == nil && strings.EqualFold(strings.TrimSuffix(u.Path, ".git"), strings.TrimSuffix(at.Path, ".git")) {
		return state, false // the name of the host may be another one, too
	}
	servers := []string{state}
	for i := range c.Images {
		if s := c.Images[i].Source; s != nil {
			servers = append(servers, s.GitURL())
		}
	}
	for _, server := range servers {
		u, err := url.Parse(server)
		if err == nil && u.Host != "" && u.Hostname() == at.Hostname() {
			at.Scheme, at.Host = u.Scheme, u.Host
			return at.String(), false
		}
	}
	return origin, ProviderAt(at.Host) == ""
}

// ForgeAt returns a source at the forge with a host, or else at one whose host differs in the port only, or nil.
func (c *Config) ForgeAt(host string) *Source {
	var near *Source
	for i := range c.Images {
		switch s := c.Images[i].Source; {
		case s == nil || !s.HasAPI():
		case s.Host == host:
			return s
		case near == nil && hostname.SameServer(s.Host, host):
			near = s
		}
	}
	return near
}
