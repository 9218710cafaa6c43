package scan

import (
	"net/url"
	"strings"
)

// parsePURL returns the product that a package URL names; the zero Product if it is none. A URL of type oci or docker names
// an image.
func parsePURL(text string) Product {
	rest, ok := strings.CutPrefix(text, "pkg:")
	if !ok {
		return Product{}
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	kind, name, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok {
		return Product{}
	}
	version := ""
	if at := strings.LastIndexByte(name, '@'); at > 0 {
		name, version = name[:at], unescape(name[at+1:])
	}
	name = unescape(name)
	if kind = strings.ToLower(kind); kind != "oci" && kind != "docker" {
		switch kind { // whose names include the namespace
		case "golang", "npm", "composer", "github", "swift":
		case "maven":
			name = strings.ReplaceAll(name, "/", ":")
		default:
			name = name[strings.LastIndexByte(name, '/')+1:]
		}
		return Product{Package: name, Version: version}
	}
	p := Product{Repository: name}
	values, _ := url.ParseQuery(query) // what it can parse
	if at := values.Get("repository_url"); at != "" {
		p.Repository = strings.TrimSuffix(at, "/")
		if last := name[strings.LastIndexByte(name, '/')+1:]; p.Repository[strings.LastIndexByte(p.Repository, '/')+1:] != last {
			p.Repository += "/" + last
		}
	}
	if digestForm().MatchString(version) {
		p.Digest = version
		if kind == "oci" && !values.Has("repository_url") { // the name is the last part of the repository only
			p.Repository = ""
		}
	}
	return p
}

func unescape(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}

// productOf returns the product that a VEX document calls id: a package URL, or an image reference with or without digest.
func productOf(id string) Product {
	if p := parsePURL(id); p != (Product{}) {
		return p
	}
	name, digest, _ := strings.Cut(id, "@")
	if !digestForm().MatchString(digest) {
		digest = ""
	}
	if digestForm().MatchString(name) {
		return Product{Digest: name}
	}
	return Product{Repository: name, Digest: digest}
}
