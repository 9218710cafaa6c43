package config

import (
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

const (
	// OwnerKey is the key under which label selectors find the owner of an image.
	OwnerKey = "owner"

	maxOwner  = 63 // of a label's value
	maxLabels = 32 // each Kargo object of the image carries all of them
)

var (
	ownerForm    = lazy.Regexp(`^@?[A-Za-z0-9]([-A-Za-z0-9_./@]*[A-Za-z0-9])?$`)
	notLabelText = lazy.Regexp(`[^-A-Za-z0-9_.]`)
)

// reservedLabels are the keys, and the prefixes of keys, that imagefactory, Kargo, Argo CD and Kubernetes write themselves.
var reservedLabels = []string{
	OwnerKey, "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "imagefactory/", "kargo.akuity.io/", "argocd.argoproj.io/",
}

// OwnerLabel returns an owner as a label value: acme.shop for @acme/shop. Validation rejects two owners with the same label value.
func OwnerLabel(owner string) string {
	return notLabelText().ReplaceAllString(strings.TrimPrefix(owner, "@"), ".")
}

// SelectorLabels returns the labels of the image for selectors: its own, and its owner under [OwnerKey].
func (i *Image) SelectorLabels() map[string]string {
	out := maps.Clone(i.Labels)
	if i.Owner != "" {
		if out == nil {
			out = make(map[string]string, 1)
		}
		out[OwnerKey] = OwnerLabel(i.Owner)
	}
	return out
}

// owned checks owner and labels of an entry, or of defaults.
func (v *validator) owned(n *yaml.Node, at, owner string, labels map[string]string) {
	if owner != "" {
		v.owner(child(n, "owner"), at+"owner", owner)
	}
	node := child(n, "labels")
	if len(labels) > maxLabels {
		v.add(finding.BadValue, node, fmt.Sprintf("%slabels: %d labels; at most %d are supported", at, len(labels), maxLabels), "")
	}
	v.labels(node, at+"labels", labels, nil)
	for key := range labels {
		if reservedLabel(key) {
			v.check(keyNode(node, key), at+"labels", fmt.Errorf("%q is reserved%s", key, ownerHint(key)))
		}
	}
}

func ownerHint(key string) string {
	if key == OwnerKey {
		return " (set the key owner beside labels)"
	}
	return ""
}

func reservedLabel(key string) bool {
	for _, r := range reservedLabels {
		if key == r || strings.HasSuffix(r, "/") && strings.HasPrefix(key, r) {
			return true
		}
	}
	return false
}

func (v *validator) owner(n *yaml.Node, at, owner string) {
	if len(owner) > maxOwner || !ownerForm().MatchString(owner) {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: invalid owner %q", at, owner),
			fmt.Sprintf("want a name such as team-shop or @acme/shop: letters, digits and -_./@, at most %d", maxOwner))
		return
	}
	label := OwnerLabel(owner)
	first, known := v.owners[label]
	if !known {
		v.owners[label] = owner
	} else if first != owner {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: owners %q and %q become the same label value %q", at, owner, first, label), "use one spelling")
	}
}
