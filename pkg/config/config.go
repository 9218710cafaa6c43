// Package config reads images.yaml: the types, strict decoding with file positions, defaults and validation.
// What is found in Dockerfiles and registries is not here; see package state.
package config

import (
	"maps"
	"slices"
	"strings"
)

// Defaults, used where neither an entry nor `defaults` says otherwise.
const (
	DefaultProject         = "image-factory-kargo"
	DefaultRegistry        = "ghcr.io"   // of a managed image
	DefaultExternalReg     = "docker.io" // of an external image
	defaultPlatform        = "linux/amd64"
	defaultDelay           = 7 * 24 * hour
	defaultSchedule        = "17 * * * *"
	defaultBaseInterval    = 6 * hour
	defaultImageInterval   = hour
	defaultMaxConcurrent   = 5
	defaultAnalysisImage   = "ghcr.io/imagefactory/imagefactory:latest"
	DefaultBranch          = "main"
	DefaultConfigFile      = "images.yaml"
	DefaultStateFolder     = "state"
	DefaultOutFolder       = "dist"
	maxDelayFactor         = 4
	hour                   = Duration(60 * 60 * 1e9)
	maxImages              = 50_000
	maxImagesFileBytes     = 64 << 20
	maxNameLength          = 49 // "observe-image-" and a name fit the 63 characters of a label
	maxDocumentAliasedSize = 1 << 20
)

// Config is a whole images.yaml with every default filled in.
type Config struct {
	Factory  Factory  `yaml:"factory" jsonschema_description:"What concerns all images."`
	Defaults Defaults `yaml:"defaults" jsonschema_description:"Values for entries that do not say otherwise."`
	Images   []Image  `yaml:"images" jsonschema_description:"The enrolled images."`

	file  string
	index map[string]int
}

// Factory holds what concerns all images.
type Factory struct {
	Project       string                `yaml:"project" jsonschema_description:"Kargo Project, and so the namespace. Default image-factory-kargo."`
	State         StateRepo             `yaml:"state" jsonschema_description:"Where state/ lives in git. Default: the origin remote of the checkout."`
	Config        ImagesFile            `yaml:"config" jsonschema_description:"Where the analysis reads images.yaml from. Default: the state repository."`
	AnalysisImage string                `yaml:"analysisImage" jsonschema_description:"Image of imagefactory that the Jobs run."`
	Schedule      string                `yaml:"schedule" jsonschema_description:"When the promote CronJob runs, in cron syntax. Default hourly."`
	Poll          Poll                  `yaml:"poll" jsonschema_description:"How often registries are asked."`
	MaxConcurrent *int                  `yaml:"maxConcurrentRebuilds" jsonschema_description:"How many rebuilds may run at once on one forge. Default 5."`
	Mirrors       map[string][]string   `yaml:"mirrors" jsonschema_description:"Registry host to mirrors that are asked instead, in order."`
	Credentials   map[string]Credential `yaml:"credentials" jsonschema_description:"Host to the Secrets that hold its credentials. Secrets are referenced, never contained."`
	Lint          Lint                  `yaml:"lint" jsonschema_description:"Which warnings are accepted."`
	Jobs          Jobs                  `yaml:"jobs" jsonschema_description:"What the cluster needs around the Jobs: proxy, CA, pull secrets, environment, placement."`
}

// StateRepo is the git repository that holds state/.
type StateRepo struct {
	URL    string `yaml:"url" jsonschema_description:"https URL of the repository."`
	Branch string `yaml:"branch" jsonschema_description:"Branch that state is pushed to; may be its own. Default main."`
	Path   string `yaml:"path" jsonschema_description:"Folder of the state files in the repository. Default state."`
}

// ImagesFile is where the Jobs in the cluster read images.yaml.
type ImagesFile struct {
	Ref  string `yaml:"ref" jsonschema_description:"Branch or tag. Default: the branch of the state repository."`
	Path string `yaml:"path" jsonschema_description:"Path in the repository. Default images.yaml."`
}

// Poll holds the intervals at which Kargo asks registries.
type Poll struct {
	BaseImages *Duration `yaml:"baseImages" jsonschema_description:"For base images. Default 6h."`
	Images     *Duration `yaml:"images" jsonschema_description:"For enrolled images. Default 1h."`
}

// Credential names the Secrets of one host by use.
type Credential struct {
	Git      *SecretKey `yaml:"git" jsonschema_description:"Password or token to read and push git repositories."`
	API      *SecretKey `yaml:"api" jsonschema_description:"Token for the forge's API: it starts builds."`
	Registry *SecretKey `yaml:"registry" jsonschema_description:"A docker config.json."`
}

// SecretKey is a key of a Secret in the Project's namespace.
type SecretKey struct {
	Secret string `yaml:"secret" jsonschema:"required" jsonschema_description:"Name of the Secret."`
	Key    string `yaml:"key" jsonschema:"required" jsonschema_description:"Key in the Secret."`
}

// Defaults are values for entries that do not say otherwise.
type Defaults struct {
	Registry        string            `yaml:"registry" jsonschema_description:"Registry host of managed images."`
	RebuildDelay    *Duration         `yaml:"rebuildDelay" jsonschema_description:"How long a new digest of a base image waits. 0 means at once."`
	MaxRebuildDelay *Duration         `yaml:"maxRebuildDelay" jsonschema_description:"Longest wait under the policy settle."`
	RebuildPolicy   RebuildPolicy     `yaml:"rebuildPolicy" jsonschema:"enum=mature,enum=settle" jsonschema_description:"mature: a digest is due when it is old enough. settle: the newest must be."`
	AutoRebuild     *bool             `yaml:"autoRebuild" jsonschema_description:"false: watched and shown, never rebuilt."`
	Owner           string            `yaml:"owner" jsonschema:"maxLength=63,pattern=^@?[A-Za-z0-9]([-A-Za-z0-9_./@]*[A-Za-z0-9])?$" jsonschema_description:"Team or person that owns images without an owner."`
	Labels          map[string]string `yaml:"labels" jsonschema_description:"Labels of all images; an entry overrides them key by key."`
	Source          SourceDefault     `yaml:"source" jsonschema_description:"What sources commonly share."`
}

// SourceDefault are the parts of a source that entries commonly share.
type SourceDefault struct {
	Provider  Provider `yaml:"provider" jsonschema:"enum=github,enum=gitlab,enum=git" jsonschema_description:"Kind of the forge."`
	Host      string   `yaml:"host" jsonschema_description:"Host of a self-hosted forge, for entries of the default provider."`
	Repo      string   `yaml:"repo" jsonschema_description:"Repository that several images are built from."`
	Branch    string   `yaml:"branch" jsonschema_description:"Branch that is built."`
	Workflow  string   `yaml:"workflow" jsonschema_description:"GitHub Actions workflow file."`
	Platforms []string `yaml:"platforms" jsonschema_description:"Platforms that are built."`
	PinBases  *bool    `yaml:"pinBases" jsonschema_description:"true when the workflows build with the lock that imagefactory pin prints."`
}

// Image is an enrolled image: managed when it has a Source, else external.
type Image struct {
	Name            string            `yaml:"name" jsonschema:"required,minLength=1,maxLength=49,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" jsonschema_description:"Name of the entry: of its state file and its Kargo objects."`
	Registry        string            `yaml:"registry" jsonschema_description:"Registry host. Default ghcr.io, and docker.io for an external image."`
	Repository      string            `yaml:"repository" jsonschema:"required,minLength=1" jsonschema_description:"Repository in the registry."`
	Source          *Source           `yaml:"source" jsonschema_description:"Where it is built from. Without it the image is external: watched, never rebuilt."`
	Tags            *Tags             `yaml:"tags" jsonschema_description:"Which published tags count. Default: decided by analyze from what the registry holds."`
	RebuildDelay    *Duration         `yaml:"rebuildDelay" jsonschema_description:"How long a new digest of a base image waits. Default 7d; 0 means at once."`
	MaxRebuildDelay *Duration         `yaml:"maxRebuildDelay" jsonschema_description:"Longest wait under the policy settle. Default four times rebuildDelay."`
	RebuildPolicy   RebuildPolicy     `yaml:"rebuildPolicy" jsonschema:"enum=mature,enum=settle" jsonschema_description:"mature: a digest is due when it is old enough. settle: the newest must be. Default mature with pinBases, else settle."`
	AutoRebuild     *bool             `yaml:"autoRebuild" jsonschema_description:"false: watched and shown, never rebuilt. Default true."`
	Owner           string            `yaml:"owner" jsonschema:"maxLength=63,pattern=^@?[A-Za-z0-9]([-A-Za-z0-9_./@]*[A-Za-z0-9])?$" jsonschema_description:"Team or person that owns the image, such as team-shop or @acme/shop."`
	Labels          map[string]string `yaml:"labels" jsonschema_description:"Labels to select the image by, such as team: shop. Its Kargo objects carry them."`

	// Line and Column are where the entry's name stands in images.yaml.
	Line, Column int `yaml:"-"`
}

// Source is where a managed image is built from, and by what.
type Source struct {
	Provider      Provider          `yaml:"provider" jsonschema:"enum=github,enum=gitlab,enum=git" jsonschema_description:"Kind of the forge."`
	Host          string            `yaml:"host" jsonschema_description:"Host of a self-hosted forge, with a port where needed."`
	Repo          string            `yaml:"repo" jsonschema_description:"owner/repo; for gitlab group/project; for git a URL or the path on host."`
	Branch        string            `yaml:"branch" jsonschema_description:"Branch that is built. Default main."`
	Dockerfile    string            `yaml:"dockerfile" jsonschema_description:"Path of the Dockerfile in the repository. Default Dockerfile."`
	Target        string            `yaml:"target" jsonschema_description:"Stage that is built. Default the last."`
	BuildArgs     map[string]string `yaml:"buildArgs" jsonschema_description:"Build arguments that the workflow gives."`
	BuildContexts map[string]string `yaml:"buildContexts" jsonschema_description:"Named contexts that the workflow gives."`
	Platforms     []string          `yaml:"platforms" jsonschema_description:"Platforms that are built. Default linux/amd64. One of Windows may name its version: windows(10.0.20348)/amd64."`
	Workflow      string            `yaml:"workflow" jsonschema_description:"GitHub Actions workflow file."`
	Job           string            `yaml:"job" jsonschema_description:"GitLab: given to the pipeline as IMAGEFACTORY_JOB, for its rules to select on."`
	Variables     map[string]string `yaml:"variables" jsonschema_description:"GitLab pipeline variables; templated like inputs."`
	Inputs        map[string]string `yaml:"inputs" jsonschema_description:"Workflow inputs; {{image}}, {{base}}, {{digest}} and {{promotion}} are filled in."`
	PinBases      *bool             `yaml:"pinBases" jsonschema_description:"true when the workflow builds with the lock that imagefactory pin prints."`
}

// Provider is the kind of a forge.
type Provider string

// Providers.
const (
	GitHub Provider = "github"
	GitLab Provider = "gitlab"
	Git    Provider = "git"
)

func (p Provider) known() bool { return p == GitHub || p == GitLab || p == Git }

// RebuildPolicy selects which of several waiting digests becomes due; see package policy.
type RebuildPolicy string

// Rebuild policies.
const (
	Mature RebuildPolicy = "mature"
	Settle RebuildPolicy = "settle"
)

// TagStrategy is how the tag that counts is chosen; the names are Kargo's imageSelectionStrategy.
type TagStrategy string

// Tag strategies.
const (
	SemVer      TagStrategy = "SemVer"
	Digest      TagStrategy = "Digest"
	NewestBuild TagStrategy = "NewestBuild"
	Lexical     TagStrategy = "Lexical"
)

// Tags selects the published tags of an image that count. In images.yaml a plain tag is short for
// {strategy: Digest, constraint: tag}.
type Tags struct {
	Strategy   TagStrategy `yaml:"strategy" jsonschema:"required,enum=SemVer,enum=Digest,enum=NewestBuild,enum=Lexical" jsonschema_description:"How the newest is chosen."`
	Constraint string      `yaml:"constraint" jsonschema_description:"SemVer: a version range. Digest: the tag."`
	Allow      []string    `yaml:"allow" jsonschema_description:"Regular expressions; a tag must match one."`
	Ignore     []string    `yaml:"ignore" jsonschema_description:"Regular expressions; a tag must match none."`
}

func (t *Tags) setScalar(tag string) { *t = Tags{Strategy: Digest, Constraint: tag} }

// Managed reports whether the image is rebuilt by us.
func (i *Image) Managed() bool { return i.Source != nil }

// Ref is the image's repository with its registry.
func (i *Image) Ref() string { return i.Registry + "/" + i.Repository }

// Delay is the wait that applies to new digests of its base images.
func (i *Image) Delay() Duration { return *i.RebuildDelay }

// MaxDelay is the longest wait under the policy settle.
func (i *Image) MaxDelay() Duration { return *i.MaxRebuildDelay }

// Rebuilds reports whether rebuilds start by themselves.
func (i *Image) Rebuilds() bool { return i.Managed() && *i.AutoRebuild }

// PinsBases reports whether the workflow builds with the lock.
func (s *Source) PinsBases() bool { return s.PinBases != nil && *s.PinBases }

// Triggerable reports whether a build can be started through the forge's API. A plain git server has none.
func (s *Source) Triggerable() bool { return s.Provider != Git }

// RepoName is the last part of the repository's path: the folder that a checkout of it commonly has.
func (s *Source) RepoName() string {
	name := strings.TrimSuffix(strings.TrimRight(s.Repo, "/"), ".git")
	return name[strings.LastIndex(name, "/")+1:]
}

// Find returns the enrolled image of that name, or nil.
func (c *Config) Find(name string) *Image {
	i, ok := c.index[name]
	if !ok {
		return nil
	}
	return &c.Images[i]
}

// File is the path that the configuration was read from.
func (c *Config) File() string { return c.file }

// Names returns the names of all enrolled images, sorted.
func (c *Config) Names() []string { return slices.Sorted(maps.Keys(c.index)) }

// Suggest returns a hint at the enrolled name that is nearest to a name that is not enrolled.
func (c *Config) Suggest(name string) string {
	if len(c.index) > 12 {
		hint := suggest(name, c.Names())
		if !strings.HasPrefix(hint, "did you mean") {
			return ""
		}
		return hint
	}
	return suggest(name, c.Names())
}
