package describe

import (
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Place is a place in a file: a state file, images.yaml, or a Dockerfile.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // 1-based; 0 if it is the whole file, or unknown
}

// String returns FILE:LINE, or FILE without a line.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Short returns a reference as people write it, with a short digest.
func Short(ref string) string {
	ref = state.Short(ref)
	if tag, digest, pinned := strings.Cut(ref, "@"); pinned {
		return tag + "@" + state.ShortDigest(digest)
	}
	return ref
}

// Image is everything about one enrolled image.
type Image struct {
	Name       string            `json:"name"`
	Managed    bool              `json:"managed"` // rebuilt by imagefactory; otherwise external, only watched
	Repository string            `json:"repository"`
	Owner      string            `json:"owner,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Version    string            `json:"version,omitempty"` // the published tag that counts
	Digest     string            `json:"digest,omitempty"`  // of Version
	Built      time.Time         `json:"built,omitzero"`
	Published  []state.Published `json:"published,omitempty"` // tags that other images are built on
	Entry      Place             `json:"entry"`               // in images.yaml
	StateFile  string            `json:"stateFile"`
	Source     *Source           `json:"source,omitempty"`
	Decision   policy.Decision   `json:"decision"`
	Bases      []ImageBase       `json:"bases"`
	Unresolved []state.Missing   `json:"unresolved,omitempty"` // references that cannot be resolved
	Reasons    []Step            `json:"reasons"`
	History    []state.Rebuild   `json:"history"`         // the last rebuild first
	Users      []string          `json:"users,omitempty"` // images that are built on it directly
	AllUsers   int               `json:"allUsers"`        // images that are built on it, directly or not
	Plan       []plan.Entry      `json:"plan"`            // its next rebuilds
	Skipped    []plan.Skip       `json:"skipped,omitempty"`
	Findings   finding.List      `json:"findings"`
	Objects    []Object          `json:"objects"`
	// Vulnerabilities are those of the published image; nil if it was not scanned; see [Describer.ScannedImage].
	Vulnerabilities *Vulnerabilities `json:"vulnerabilities,omitempty"`
}

// Vulnerabilities are what scans found in a published image, and where that is recorded.
type Vulnerabilities struct {
	exposure.Exposure
	Place Place `json:"place"`
}

// BaseVulnerabilities are what scans found in the digests of a base image, and where that is recorded.
type BaseVulnerabilities struct {
	Digests []exposure.ScannedDigest `json:"digests"` // oldest first
	Place   Place                    `json:"place"`
}

// Source is where a managed image is built from, and the rules for its rebuilds.
type Source struct {
	Host             string               `json:"host"`
	Repo             string               `json:"repo"`
	Branch           string               `json:"branch"`
	Dockerfile       string               `json:"dockerfile"`
	DockerfileCommit string               `json:"dockerfileCommit,omitempty"` // at which its content was first seen
	DockerfileDigest string               `json:"dockerfileDigest,omitempty"` // of its content
	Workflow         string               `json:"workflow,omitempty"`
	WorkflowRepo     string               `json:"workflowRepo,omitempty"`   // if it is not that of the Dockerfile
	WorkflowBranch   string               `json:"workflowBranch,omitempty"` // of workflowRepo
	Platforms        []string             `json:"platforms,omitempty"`
	AutoRebuild      bool                 `json:"autoRebuild"`
	RebuildPolicy    config.RebuildPolicy `json:"rebuildPolicy"`
	RebuildDelay     config.Duration      `json:"rebuildDelay"`
	MaxRebuildDelay  config.Duration      `json:"maxRebuildDelay"`
	PinBases         bool                 `json:"pinBases"`
}

// ImageBase is one reference that an image's build uses.
type ImageBase struct {
	policy.BaseDecision
	Final      bool        `json:"final,omitempty"` // the final stage is built on it
	Uses       []Use       `json:"uses"`
	BuiltOn    *BuiltOn    `json:"builtOn,omitempty"`
	Candidates []Candidate `json:"candidates,omitempty"` // oldest first, as the image sees them; the first is the baseline
}

// Use is an instruction that uses a reference.
type Use struct {
	Kind     string `json:"kind"` // from, copy, mount, onbuild
	Stage    string `json:"stage,omitempty"`
	Platform string `json:"platform,omitempty"` // if it is not the image's own
	Place    Place  `json:"place"`              // in the Dockerfile
}

// BuiltOn is the digest that the published image was built on.
type BuiltOn struct {
	Digest   string         `json:"digest"`
	Evidence state.Evidence `json:"evidence"`
	How      string         `json:"how"` // the evidence as people say it
	Place    Place          `json:"place"`
}

// Candidate is a digest that the tag of a base held, as one image sees it.
type Candidate struct {
	policy.Clock
	Current bool   `json:"current,omitempty"` // the tag holds it now
	Reason  string `json:"reason,omitempty"`  // for the hold or the release
}

// Step is one link in the chain of reasons for a decision.
type Step struct {
	Kind   StepKind `json:"kind"`
	Ref    string   `json:"ref,omitempty"` // the base that it is about; "" for the image
	Text   string   `json:"text"`
	Place  *Place   `json:"place,omitempty"`  // where it is recorded
	Digest string   `json:"digest,omitempty"` // that a fact is about
}

// StepKind is the kind of a [Step].
type StepKind string

// Kinds of steps. A decision follows from the facts and rules before it.
const (
	Fact     StepKind = "fact"
	Rule     StepKind = "rule"
	Decision StepKind = "decision"
)

// Base is everything about one base image.
type Base struct {
	Name       string          `json:"name"`
	Ref        string          `json:"ref"`
	Digest     string          `json:"digest,omitempty"`   // that the tag holds now
	Previous   string          `json:"previous,omitempty"` // that it held before
	Updated    time.Time       `json:"updated,omitzero"`   // when the tag moved last, or was first recorded
	StateFile  string          `json:"stateFile"`
	Newer      *state.Newer    `json:"newer,omitempty"`    // tags of newer releases, if factory.lint.newerTags is set
	Watched    bool            `json:"watched"`            // an image uses it without pinning it
	External   string          `json:"external,omitempty"` // external image of the same reference
	Candidates []BaseCandidate `json:"candidates"`         // oldest first; the first is the baseline
	Users      []User          `json:"users"`
	AllUsers   int             `json:"allUsers"` // images that are built on it, directly or not
	History    []state.Update  `json:"history"`  // the last move of the tag first
	Plan       []plan.Entry    `json:"plan"`     // rebuilds that it causes
	Findings   finding.List    `json:"findings"`
	Objects    []Object        `json:"objects"`
	// Vulnerabilities are those of its digests; nil if none was scanned; see [Describer.ScannedBase].
	Vulnerabilities *BaseVulnerabilities `json:"vulnerabilities,omitempty"`
}

// BaseCandidate is a digest that the tag of a base image held.
type BaseCandidate struct {
	Digest    string    `json:"digest"`
	Seen      time.Time `json:"seen"` // when it was first seen
	Baseline  bool      `json:"baseline,omitempty"`
	Current   bool      `json:"current,omitempty"` // the tag holds it now
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	Returned  time.Time `json:"returned,omitzero"`
	Held      time.Time `json:"held,omitzero"`
	Released  time.Time `json:"released,omitzero"`
	Reason    string    `json:"reason,omitempty"` // for the hold or the release
	// Untrusted is why it is not verified as factory.trust requires, Verified the requirement that it satisfies.
	Untrusted   string     `json:"untrusted,omitempty"`
	Verified    string     `json:"verified,omitempty"`
	TrustWaived time.Time  `json:"trustWaived,omitzero"` // when it was released although it was untrusted
	Place       Place      `json:"place"`
	Ripens      []Ripening `json:"ripens,omitempty"` // by time
}

// Ripening is how a candidate stands for images that see it with the same clock.
type Ripening struct {
	At     time.Time          `json:"at"`
	Status policy.ClockStatus `json:"status"`
	Images []string           `json:"images"`
}

// User is an image that uses a base image.
type User struct {
	Image   string        `json:"image"`
	Status  policy.Status `json:"status"`
	Reason  string        `json:"reason"`
	Pinned  bool          `json:"pinned,omitempty"` // by its digest, and nothing moves it
	Due     bool          `json:"due,omitempty"`    // the image is to be rebuilt for this base
	Until   time.Time     `json:"until,omitzero"`   // when a newer digest is due if the tag does not move again
	BuiltOn *BuiltOn      `json:"builtOn,omitempty"`
	Uses    []Use         `json:"uses"`
}
