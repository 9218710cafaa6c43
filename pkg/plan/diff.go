package plan

import "github.com/imagefactory/imagefactory/pkg/finding"

// Marker is the first line of a Diff in Markdown. It is not shown, and CI finds by it the comment that it updates.
const Marker = "<!-- imagefactory plan -->"

// Diff is what a change of images.yaml and Dockerfiles does to a fleet.
type Diff struct {
	Revision  string            `json:"revision"`
	Commit    string            `json:"commit"`
	Secrets   []SecretDiff      `json:"secrets"`   // that go to other hosts than before
	Factory   []SettingDiff     `json:"factory"`   // settings for all images
	Images    []ImageDiff       `json:"images"`    // that were added, removed or changed
	Due       []NewlyDue        `json:"due"`       // that become due by the change
	Resources []ResourceDiff    `json:"resources"` // of Kargo that appear, disappear or change
	New       []finding.Finding `json:"new"`       // findings that the change causes
	Fixed     []finding.Finding `json:"fixed"`     // findings that it resolves
	// Unread are the images whose Dockerfiles are in other repositories. Their bases are those in state.
	Unread []string `json:"unread"`
	Notes  []string `json:"notes"` // what else could not be compared
}

// DiffKind is how something changes.
type DiffKind string

// Kinds of a change.
const (
	Added   DiffKind = "added"
	Removed DiffKind = "removed"
	Changed DiffKind = "changed"
)

// ImageDiff is how an image changes.
type ImageDiff struct {
	Name     string        `json:"name"`
	Change   DiffKind      `json:"change"`
	Bases    []BaseDiff    `json:"bases,omitempty"`
	Parents  []ParentDiff  `json:"parents,omitempty"`
	Settings []SettingDiff `json:"settings,omitempty"` // keys of images.yaml
}

// SecretDiff is a key of a Secret that is sent to a host, and was not before.
type SecretDiff struct {
	Secret string `json:"secret"`
	Key    string `json:"key"`
	Host   string `json:"host"`
	Use    string `json:"use"` // api, git, registry or notify
}

// BaseDiff is how a base image of an image changes. One that is changed has another tag or digest.
type BaseDiff struct {
	Change DiffKind `json:"change"`
	Ref    string   `json:"ref"`
	From   string   `json:"from,omitempty"` // the reference before, if it is changed
}

// ParentDiff is an edge between two images that appears or disappears.
type ParentDiff struct {
	Change DiffKind `json:"change"`
	Name   string   `json:"name"`
}

// SettingDiff is a key of images.yaml whose value changes.
type SettingDiff struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
}

// NewlyDue is an image that is rebuilt at once because of the change.
type NewlyDue struct {
	Image  string `json:"image"`
	Reason string `json:"reason"`
}

// ResourceDiff is a Kargo resource.
type ResourceDiff struct {
	Change DiffKind `json:"change"`
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
}
