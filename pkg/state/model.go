package state

import (
	"fmt"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Extra holds the keys of a mapping that this version does not know, so that they survive when it writes the file.
type Extra map[string]any

// Time is a time in a state file: UTC, whole seconds, RFC 3339, quoted.
type Time struct{ time.Time }

// At returns t as a Time, or the zero Time if RFC 3339 cannot represent t: images can claim any date.
func At(t time.Time) Time {
	const lastYear = 9999
	if t = t.UTC().Truncate(time.Second); t.Year() < 1 || t.Year() > lastYear {
		return Time{}
	}
	return Time{t}
}

// MarshalText returns the time as RFC 3339 in UTC, and nothing for the zero time.
func (t Time) MarshalText() ([]byte, error) {
	if t.IsZero() {
		return nil, nil
	}
	return []byte(t.UTC().Format(time.RFC3339)), nil
}

// UnmarshalText parses RFC 3339.
func (t *Time) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = Time{}
		return nil
	}
	v, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("want a time such as 2026-01-31T15:04:05Z, not %q", text)
	}
	*t = At(v)
	return nil
}

// UnmarshalYAML is like [Time.UnmarshalText]; its errors name the line.
func (t *Time) UnmarshalYAML(n *yaml.Node) error {
	if err := t.UnmarshalText([]byte(n.Value)); err != nil {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %v", n.Line, err)}}
	}
	return nil
}

// Snapshot is the content of a tag at one time: the digest of the index (or single manifest) and the effective digests.
type Snapshot struct {
	Digest    string    `yaml:"digest" json:"digest"`
	Platforms Platforms `yaml:"platforms,omitempty" json:"platforms,omitempty"`
}

// Base is the state of a base image: an upstream reference with a tag.
type Base struct {
	Name           string      `yaml:"name" json:"name"`
	Registry       string      `yaml:"registry" json:"registry"`
	Repository     string      `yaml:"repository" json:"repository"`
	Tag            string      `yaml:"tag" json:"tag"`
	CurrentDigest  string      `yaml:"currentDigest,omitempty" json:"currentDigest,omitempty"`
	PreviousDigest string      `yaml:"previousDigest,omitempty" json:"previousDigest,omitempty"`
	LastUpdated    Time        `yaml:"lastUpdated,omitempty" json:"lastUpdated,omitzero"`
	Baseline       *Candidate  `yaml:"baseline,omitempty" json:"baseline,omitempty"`
	Candidates     []Candidate `yaml:"candidates,omitempty" json:"candidates,omitempty"`
	UpdateHistory  []Update    `yaml:"updateHistory,omitempty" json:"updateHistory,omitempty"`
	Triggers       []Triggers  `yaml:"triggers,omitempty" json:"triggers,omitempty"`
	Newer          *Newer      `yaml:"newer,omitempty" json:"newer,omitempty"`
	Archived       string      `yaml:"archived,omitempty" json:"archived,omitempty"` // why the file was archived
	Extra          Extra       `yaml:",inline" json:"-"`

	// Demand is the signature or provenance that images.yaml requires of its candidates; empty for none. It is not stored.
	Demand string `yaml:"-" json:"-"`
}

// Triggers are the ONBUILD triggers in the config of a base image for one platform, reduced to those that use files of other
// images. They are kept so that the config need not be read again.
type Triggers struct {
	Platform string   `yaml:"platform" json:"platform"`
	Digest   string   `yaml:"digest" json:"digest"` // effective digest of the image that has them
	OnBuild  []string `yaml:"onbuild,omitempty" json:"onbuild,omitempty"`
	Extra    Extra    `yaml:",inline" json:"-"`
}

// Newer are the tags of newer releases than that of a base image, of the same variant, as its registry lists them.
type Newer struct {
	Release string `yaml:"release,omitempty" json:"release,omitempty"` // the newest of the same release line
	Line    string `yaml:"line,omitempty" json:"line,omitempty"`       // the newest of a later release line
	Extra   Extra  `yaml:",inline" json:"-"`
}

// Ref returns the normalised reference, docker.io/library/node:22-slim.
func (b *Base) Ref() string { return b.Registry + "/" + b.Repository + ":" + b.Tag }

// Candidate is a digest that was seen under a base image's tag. FirstSeen is from our own clock, because the timestamps of
// publishers can be forged.
type Candidate struct {
	Snapshot  `yaml:",inline"`
	FirstSeen Time   `yaml:"firstSeen" json:"firstSeen"`
	Withdrawn Time   `yaml:"withdrawn,omitempty" json:"withdrawn,omitzero"` // the tag went back to an older digest
	Returned  Time   `yaml:"returned,omitempty" json:"returned,omitzero"`   // the tag holds it again after WithdrawalWait or longer
	Released  Time   `yaml:"released,omitempty" json:"released,omitzero"`   // due now, by hand or by a scan
	Held      Time   `yaml:"held,omitempty" json:"held,omitzero"`           // never due until released
	Reason    string `yaml:"reason,omitempty" json:"reason,omitempty"`
	// Urgent are the IDs of the findings for which a scan released it, and Adds those for which a scan held it; both are empty
	// after a release or hold by hand.
	Urgent []string `yaml:"urgent,omitempty" json:"urgent,omitempty"`
	Adds   []string `yaml:"adds,omitempty" json:"adds,omitempty"`
	// Untrusted is why its signature or provenance could not be verified. It does not ripen until that is resolved.
	Untrusted string `yaml:"untrusted,omitempty" json:"untrusted,omitempty"`
	// Verified is the demand of images.yaml that its signature or provenance satisfies. If it was untrusted before, it waits from
	// Trusted on.
	Verified    string `yaml:"verified,omitempty" json:"verified,omitempty"`
	Trusted     Time   `yaml:"trusted,omitempty" json:"trusted,omitzero"`
	TrustWaived Time   `yaml:"trustWaived,omitempty" json:"trustWaived,omitzero"` // released by hand although it was untrusted
	Extra       Extra  `yaml:",inline" json:"-"`
}

// Update is one move of a tag.
type Update struct {
	At    Time   `yaml:"at" json:"at"`
	From  string `yaml:"from,omitempty" json:"from,omitempty"`
	To    string `yaml:"to" json:"to"`
	Extra Extra  `yaml:",inline" json:"-"`
}

// Image is the state of an enrolled image, managed or external.
type Image struct {
	Name           string       `yaml:"name" json:"name"`
	Repository     string       `yaml:"repository" json:"repository"` // with its registry
	Dockerfile     *Dockerfile  `yaml:"dockerfile,omitempty" json:"dockerfile,omitempty"`
	Build          *Build       `yaml:"build,omitempty" json:"build,omitempty"`
	AnalysisError  string       `yaml:"analysisError,omitempty" json:"analysisError,omitempty"` // why the last analysis of the Dockerfile failed
	BaseImages     []BaseUse    `yaml:"baseImages,omitempty" json:"baseImages,omitempty"`
	Unresolved     []Missing    `yaml:"unresolved,omitempty" json:"unresolved,omitempty"`
	BuiltOn        []BuiltOn    `yaml:"builtOn,omitempty" json:"builtOn,omitempty"`
	Tags           *Tags        `yaml:"tags,omitempty" json:"tags,omitempty"`
	CurrentVersion string       `yaml:"currentVersion,omitempty" json:"currentVersion,omitempty"`
	CurrentDigest  string       `yaml:"currentDigest,omitempty" json:"currentDigest,omitempty"`
	LastBuilt      Time         `yaml:"lastBuilt,omitempty" json:"lastBuilt,omitzero"`
	Unpublished    Time         `yaml:"unpublished,omitempty" json:"unpublished,omitzero"` // when the registry was first found to hold no image
	Published      []Published  `yaml:"published,omitempty" json:"published,omitempty"`
	Uncounted      []string     `yaml:"uncounted,omitempty" json:"uncounted,omitempty"` // a few of the published tags, while none of them counts
	PullRequest    *PullRequest `yaml:"pullRequest,omitempty" json:"pullRequest,omitempty"`
	Stuck          Time         `yaml:"stuck,omitempty" json:"stuck,omitzero"` // since when it is due, once that is so long that people are told
	Rebuild        *Rebuild     `yaml:"rebuild,omitempty" json:"rebuild,omitempty"`
	RebuildHistory []Rebuild    `yaml:"rebuildHistory,omitempty" json:"rebuildHistory,omitempty"`
	Archived       string       `yaml:"archived,omitempty" json:"archived,omitempty"` // why the file was archived
	Extra          Extra        `yaml:",inline" json:"-"`
}

// Dockerfile is the Dockerfile that was analyzed. Commit is the one at which this content was first seen; it is empty for a
// file from a working tree.
type Dockerfile struct {
	Repo   string `yaml:"repo" json:"repo"`
	Path   string `yaml:"path" json:"path"`
	Commit string `yaml:"commit,omitempty" json:"commit,omitempty"`
	Digest string `yaml:"digest" json:"digest"` // sha256 of the content
	// Analysis is a hash of the inputs of the analysis that found BaseImages. An analysis with the same inputs is skipped.
	Analysis string `yaml:"analysis,omitempty" json:"analysis,omitempty"`
	Extra    Extra  `yaml:",inline" json:"-"`
}

// Build is how the bake or Compose file of an image says that it is built. Commit is the one at which this was first seen; it is empty
// for a file from a working tree.
type Build struct {
	File      string            `yaml:"file" json:"file"`
	Target    string            `yaml:"target" json:"target"` // of the bake file, or service
	Commit    string            `yaml:"commit,omitempty" json:"commit,omitempty"`
	Digest    string            `yaml:"digest" json:"digest"`               // sha256 of the content
	Env       string            `yaml:"env,omitempty" json:"env,omitempty"` // sha256 of the file .env, if the service depends on it
	Stage     string            `yaml:"stage,omitempty" json:"stage,omitempty"`
	Args      map[string]string `yaml:"args,omitempty" json:"args,omitempty"`
	Contexts  map[string]string `yaml:"contexts,omitempty" json:"contexts,omitempty"`
	Platforms []string          `yaml:"platforms,omitempty" json:"platforms,omitempty"`
	Extra     Extra             `yaml:",inline" json:"-"`
}

// BaseUse is an image that the Dockerfile uses, with the instructions that use it.
type BaseUse struct {
	Ref   string `yaml:"ref" json:"ref"`
	Final bool   `yaml:"final,omitempty" json:"final,omitempty"` // the final stage is built on it
	Uses  []Use  `yaml:"uses" json:"uses"`
	Pin   *Pin   `yaml:"pin,omitempty" json:"pin,omitempty"` // of a pinned reference that pull requests move
	Extra Extra  `yaml:",inline" json:"-"`
}

// Pin is when the Dockerfile first had a pinned reference, and the digest that its tag held then or soon after. A pin may be a digest
// that the tag held between two observations; that digest shows what is newer.
type Pin struct {
	Since   Time   `yaml:"since" json:"since"`
	TagHeld string `yaml:"tagHeld,omitempty" json:"tagHeld,omitempty"`
	Extra   Extra  `yaml:",inline" json:"-"`
}

// PullRequest is the open pull or merge request that moves pins of an image, or one that a person has closed for the same pins.
type PullRequest struct {
	URL     string   `yaml:"url" json:"url"`
	Since   Time     `yaml:"since" json:"since"`                         // when it was opened
	Pins    []string `yaml:"pins" json:"pins"`                           // the references that it brings
	Message string   `yaml:"message,omitempty" json:"message,omitempty"` // why it is left alone, or could not be brought up to date
	Extra   Extra    `yaml:",inline" json:"-"`
}

// Use is one instruction that uses a base image.
type Use struct {
	Kind     string `yaml:"kind" json:"kind"`                     // from, copy, mount, onbuild, syntax
	File     string `yaml:"file,omitempty" json:"file,omitempty"` // Dockerfile of another target of the bake file, or service; default: the image's own
	Stage    string `yaml:"stage,omitempty" json:"stage,omitempty"`
	Line     int    `yaml:"line" json:"line"`
	Platform string `yaml:"platform,omitempty" json:"platform,omitempty"` // if it is not the image's own
	Extra    Extra  `yaml:",inline" json:"-"`
}

// KindSyntax is the kind of a Use as BuildKit frontend. It is recorded, but causes no rebuild: a new frontend does not change
// the image.
const KindSyntax = "syntax"

// Missing is a reference that could not be resolved.
type Missing struct {
	Text      string   `yaml:"text" json:"text"`
	Line      int      `yaml:"line" json:"line"`
	Variables []string `yaml:"missing" json:"missing"`
	Extra     Extra    `yaml:",inline" json:"-"`
}

// Evidence is the source of a digest in [BuiltOn].
type Evidence string

// Evidence, strongest first.
const (
	Provenance Evidence = "provenance" // BuildKit provenance attestation
	Annotation Evidence = "annotation" // OCI base image annotations
	Layers     Evidence = "layers"     // layer prefix of a known base digest
	Recorded   Evidence = "recorded"   // our own record of the rebuild
	Assumed    Evidence = "assumed"    // no evidence: the baseline, or the digest that the previous version was built on
)

// known reports whether this version knows the evidence.
func (e Evidence) known() bool {
	switch e {
	case Provenance, Annotation, Layers, Recorded, Assumed:
		return true
	}
	return false
}

// BuiltOn is the digest of a base that the published image was built on.
type BuiltOn struct {
	Ref      string `yaml:"ref" json:"ref"`
	Snapshot `yaml:",inline"`
	Evidence Evidence `yaml:"evidence" json:"evidence"`
	Extra    Extra    `yaml:",inline" json:"-"`
}

// Tags is the rule that chooses the published tag. Analyze derives it from the registry unless images.yaml sets it.
type Tags struct {
	Strategy   string `yaml:"strategy" json:"strategy"`
	Constraint string `yaml:"constraint,omitempty" json:"constraint,omitempty"`
	// PassedOver is a tag that speaks against the rule: when the rule was chosen, the tag held an image that was built later,
	// or was the highest semantic version.
	PassedOver   string `yaml:"passedOver,omitempty" json:"passedOver,omitempty"`
	DecidedAgain Time   `yaml:"decidedAgain,omitempty" json:"decidedAgain,omitzero"` // when the rule was checked because a rebuild was not seen
	Extra        Extra  `yaml:",inline" json:"-"`
}

// Published is the content of a tag of a managed image. It is recorded for tags that other images are built on.
type Published struct {
	Tag      string `yaml:"tag" json:"tag"`
	Snapshot `yaml:",inline"`
	Since    Time  `yaml:"since" json:"since"`
	Extra    Extra `yaml:",inline" json:"-"`
}

// RebuildStatus is the status of a rebuild.
type RebuildStatus string

// Statuses of a rebuild.
const (
	Requested RebuildStatus = "requested" // recorded, but not started yet
	Running   RebuildStatus = "running"   // started at the forge
	Built     RebuildStatus = "built"     // the run succeeded; the new image was not seen yet
	Succeeded RebuildStatus = "succeeded" // seen on the expected base or a later one
	Unproven  RebuildStatus = "unproven"  // a new image was seen, without evidence of its base
	WrongBase RebuildStatus = "wrongBase" // a new image was seen, on an older base than expected
	Failed    RebuildStatus = "failed"    // the run failed, or never ended
)

// Words returns the status as people read it.
func (s RebuildStatus) Words() string {
	if s == WrongBase {
		return "wrong base"
	}
	return string(s)
}

// Predicate returns the status as the rest of a sentence about a rebuild.
func (s RebuildStatus) Predicate() string {
	switch s {
	case Succeeded, Failed:
		return string(s)
	case WrongBase:
		return "has the wrong base"
	}
	return "is " + string(s)
}

// known reports whether this version knows the status.
func (s RebuildStatus) known() bool {
	switch s {
	case Requested, Running, Built, Succeeded, Unproven, WrongBase, Failed:
		return true
	}
	return false
}

// Active reports whether the rebuild is not over yet.
func (s RebuildStatus) Active() bool { return s == Requested || s == Running || s == Built }

// CountsAsBuilt reports whether the rebuild is over and is not to be repeated.
func (s RebuildStatus) CountsAsBuilt() bool { return s == Succeeded || s == Unproven }

// Rebuild is a rebuild that was requested, and its outcome.
type Rebuild struct {
	ID          string        `yaml:"id" json:"id"`
	Reason      string        `yaml:"reason" json:"reason"`
	Bases       []Target      `yaml:"bases,omitempty" json:"bases,omitempty"` // what made it due
	RequestedAt Time          `yaml:"requestedAt" json:"requestedAt"`
	TriedAt     Time          `yaml:"triedAt,omitempty" json:"triedAt,omitzero"` // when a later pass last tried to start it
	Run         string        `yaml:"run,omitempty" json:"run,omitempty"`        // id of the run at the forge
	RunURL      string        `yaml:"runURL,omitempty" json:"runURL,omitempty"`
	Status      RebuildStatus `yaml:"status" json:"status"`
	Message     string        `yaml:"message,omitempty" json:"message,omitempty"`
	FinishedAt  Time          `yaml:"finishedAt,omitempty" json:"finishedAt,omitzero"`
	Refused     bool          `yaml:"refused,omitempty" json:"refused,omitempty"`   // the forge refused to start it, so it had no run
	Failures    int           `yaml:"failures,omitempty" json:"failures,omitempty"` // in a row, this one included
	Urgent      []string      `yaml:"urgent,omitempty" json:"urgent,omitempty"`     // IDs of the findings that made it urgent
	Released    bool          `yaml:"released,omitempty" json:"released,omitempty"` // it brings a digest that a person has released
	Extra       Extra         `yaml:",inline" json:"-"`
}

// Target is the digest of a base that an image should be built on.
type Target struct {
	Ref      string `yaml:"ref" json:"ref"`
	Snapshot `yaml:",inline"`
	Extra    Extra `yaml:",inline" json:"-"`
}

// State is the content of the state folder.
type State struct {
	Images map[string]*Image // by name
	Bases  map[string]*Base  // by name
	// ImageScans and BaseScans are the findings, by the name of the image or base image.
	ImageScans map[string]*Scans
	BaseScans  map[string]*Scans
	Pauses     *Pauses // nil if nothing is paused

	unreadable    map[string]bool  // files that were left out, by their path below the state folder; see Unreadable
	aliased       map[Ref]*Base    // by their normalised reference; see AliasedBase
	archivedBases map[string]*Base // by name, nil for a file that cannot be read; see ArchivedBase
}

// New returns an empty State.
func New() *State {
	return &State{Images: map[string]*Image{}, Bases: map[string]*Base{}, ImageScans: map[string]*Scans{}, BaseScans: map[string]*Scans{}}
}

// LeaveOut removes the image or base image of a file, given by its path below the state folder, because the file cannot be read.
func (s *State) LeaveOut(file string) {
	if s.unreadable == nil {
		s.unreadable = map[string]bool{}
	}
	s.unreadable[file] = true
	name := strings.TrimSuffix(path.Base(file), ".yaml")
	switch path.Dir(file) {
	case ImagesFolder:
		delete(s.Images, name)
	case BasesFolder:
		delete(s.Bases, name)
	}
}

// Unreadable reports whether the file of an image or base image, given by its folder and name, was left out. Nothing may be
// concluded from its absence.
func (s *State) Unreadable(folder, name string) bool {
	return s.unreadable[path.Join(folder, name+".yaml")]
}

// AnyUnreadable reports whether any file of a folder was left out.
func (s *State) AnyUnreadable(folder string) bool {
	for file := range s.unreadable {
		if path.Dir(file) == folder {
			return true
		}
	}
	return false
}

// AliasedBase returns the base image that an earlier version recorded under an alias of its host, such as index.docker.io
// for docker.io, or nil. Its holds and releases also apply to the base image with the normalised reference r.
func (s *State) AliasedBase(r Ref) *Base { return s.aliased[r] }

// Base returns the state of a base image reference, or nil.
func (s *State) Base(ref string) *Base {
	r, err := ParseRef(ref)
	if err != nil || r.Tag == "" {
		return nil
	}
	r.Digest = ""
	return s.Recorded(r)
}
