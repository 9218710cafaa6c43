// Package hostname brings the names of registries, forges and git servers into one spelling. Everything that reads a host
// from outside (images.yaml, Dockerfiles, state files, URLs) calls it once; everything else compares plain strings.
package hostname

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// DockerHub is the name of Docker Hub in normalised references.
const DockerHub = "docker.io"

// hubAliases are the other names of Docker Hub. The first is what docker login writes, the second is where its registry
// listens, the third serves the same API.
var hubAliases = []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

// Normalize returns the one spelling of a host: lower case, without the default port, and docker.io for every name of
// Docker Hub. A name keeps its port or capitals if Docker would not read it as a host without them.
func Normalize(host string) string {
	name, port := split(strings.ToLower(host))
	if port != "" && port == defaultPort(name) {
		port = ""
	}
	if slices.Contains(hubAliases, name) && port == "" {
		return DockerHub
	}
	switch out := join(name, port); {
	case IsRegistry(out):
		return out
	case IsRegistry(strings.ToLower(host)):
		return strings.ToLower(host)
	default:
		return host
	}
}

// IsRegistry reports whether Docker reads the first part of a reference as a host. Anything else is a namespace of Docker
// Hub.
func IsRegistry(first string) bool {
	return strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first
}

// Repository normalises a registry and a repository in it. Repositories of Docker Hub without a namespace are in
// library.
func Repository(registry, repository string) (string, string) {
	registry = Normalize(registry)
	if registry == DockerHub && repository != "" && !strings.Contains(repository, "/") {
		repository = "library/" + repository
	}
	return registry, repository
}

// URL normalises the host of a URL: lower case, without the default port of its scheme. Any other text is returned as it is.
func URL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	name, port := split(strings.ToLower(u.Host))
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	if host := join(name, port); host != u.Host {
		u.Host = host
		return u.String()
	}
	return text
}

// SameRepository reports whether two URLs are those of one git repository. Scheme and port do not count, because a server has others for
// ssh than for https.
func SameRepository(a, b string) bool {
	hostA, pathA := repositoryAt(a)
	hostB, pathB := repositoryAt(b)
	return hostA != "" && hostA == hostB && strings.EqualFold(pathA, pathB)
}

// repositoryAt returns the name of the host of a repository and its path there; "" for a local path.
func repositoryAt(text string) (host, path string) {
	u, err := url.Parse(text)
	if err != nil {
		return "", ""
	}
	return strings.ToLower(u.Hostname()), strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
}

// SameServer reports whether two hosts differ in their ports at most.
func SameServer(a, b string) bool {
	nameA, _ := split(a)
	nameB, _ := split(b)
	return nameA != "" && strings.EqualFold(nameA, nameB)
}

// IsLoopback reports whether a host, with a port or without, is this machine.
func IsLoopback(host string) bool {
	name, _ := split(strings.ToLower(host))
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// IsLinkLocal reports whether a host, with a port or without, is a link-local address. In clouds, the service that hands out the
// credentials of a machine has one.
func IsLinkLocal(host string) bool {
	name, _ := split(host)
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return ip != nil && ip.IsLinkLocalUnicast()
}

// IsPrivate reports whether a host, with a port or without, is this machine or an address of a private network. A public host
// must not lead us there.
func IsPrivate(host string) bool {
	name, _ := split(host)
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return IsLoopback(host) || ip != nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// defaultPort returns the port of https; for loopback hosts that of http, which we use there.
func defaultPort(name string) string {
	if IsLoopback(name) {
		return "80"
	}
	return "443"
}

// split separates the port, without leading zeros. The brackets of an IPv6 address stay.
func split(host string) (name, port string) {
	at := strings.LastIndexByte(host, ':')
	if at < 0 || strings.Contains(host[:at], ":") && !strings.HasSuffix(host[:at], "]") || strings.Trim(host[at+1:], "0123456789") != "" {
		return host, ""
	}
	if port = strings.TrimLeft(host[at+1:], "0"); port == "" {
		return host, "" // no port, or 0, which others refuse
	}
	return host[:at], port
}

func join(name, port string) string {
	if port == "" {
		return name
	}
	return name + ":" + port
}
