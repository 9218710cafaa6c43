package kargo

import (
	"cmp"
	"maps"
	"net/url"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// imageLabels returns the labels of the objects of an enrolled image: those of its entry, its owner, and ours, which win.
func imageLabels(img *config.Image) Labels {
	labels := Labels{}
	maps.Copy(labels, img.Labels)
	if img.Owner != "" {
		labels[ownerLabel] = config.OwnerLabel(img.Owner)
	}
	labels[managedByLabel], labels[ImageLabel] = managedBy, img.Name
	return labels
}

// imageLinks returns the annotations that the links of an image's Stages read.
func imageLinks(img *config.Image) Annotations {
	if !img.Managed() || !img.Source.HasAPI() {
		return nil
	}
	src := img.Source
	file, _ := src.BuildFile() // until it is read, it stands for the Dockerfile
	return Annotations{dockerfileURL: config.FilePage(src.Provider, src.WebURL()+"/"+src.Repo, src.Branch, cmp.Or(src.Dockerfile, file))}
}

// stageLinks returns the links that Kargo's UI shows for each Stage: its Dockerfile, state file and report. URLs that differ only in
// the name of the image are templates of its labels, which no Stage has to repeat.
func (b *builder) stageLinks() []DeepLink {
	const (
		image = `index .stage.metadata.labels "` + ImageLabel + `"`
		base  = `index .stage.metadata.labels "` + baseLabel + `"`
		ours  = `"` + RoleLabel + `" in (stage.metadata.labels ?? {})`
	)
	links := []DeepLink{{
		Title: "Dockerfile", If: `"` + dockerfileURL + `" in (stage.metadata.annotations ?? {})`,
		URL: `{{ index .stage.metadata.annotations "` + dockerfileURL + `" }}`,
	}}
	if folder := b.statePage(); folder != "" {
		links = append(links, DeepLink{
			Title: "State", If: ours,
			URL: folder + `/{{ with ` + image + ` }}images/{{ . }}{{ else }}base-images/{{ ` + base + ` }}{{ end }}.yaml`,
		})
	}
	if report := b.cfg.Factory.ReportURL; report != "" {
		links = append(links, DeepLink{
			Title: "Report", If: ours,
			URL: report + `#{{ with ` + image + ` }}image/{{ . }}{{ else }}base/{{ ` + base + ` }}{{ end }}`,
		})
	}
	return links
}

// statePage returns the URL of the page of the state folder, or "" if the provider of the state repository is not known.
func (b *builder) statePage() string {
	u, err := url.Parse(b.opts.StateURL)
	if err != nil {
		return ""
	}
	provider := b.providerOf(u.Host)
	if provider == "" {
		return ""
	}
	u.Path, u.RawPath = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git"), ""
	return config.FilePage(provider, u.String(), b.cfg.Factory.State.Branch, strings.Trim(b.opts.StatePath, "/"))
}

// providerOf returns the provider of a host: that of a public one, or of a source on it, or "".
func (b *builder) providerOf(host string) config.Provider {
	if p := config.ProviderAt(host); p != "" {
		return p
	}
	for i := range b.cfg.Images {
		if src := b.cfg.Images[i].Source; src != nil && src.Host == host && src.HasAPI() {
			return src.Provider
		}
	}
	return ""
}
