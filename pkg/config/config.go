// Package config reads images.yaml: the types, strict decoding with file positions, defaults and validation.
// Facts read from Dockerfiles and registries are in package state.
package config

import (
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/window"
)

// Defaults, used for keys that neither an entry nor `defaults` sets.
const (
	DefaultProject         = "image-factory-kargo"
	DefaultRegistry        = "ghcr.io"   // of a managed image
	DefaultExternalReg     = "docker.io" // of an external image
	defaultPlatform        = "linux/amd64"
	defaultDelay           = 7 * 24 * hour
	defaultInterval        = 24 * hour
	defaultSchedule        = "17 * * * *"
	defaultScanSchedule    = "43 3 * * *"
	defaultMinAge          = 24 * hour
	defaultBaseInterval    = 6 * hour
	defaultImageInterval   = hour
	defaultMaxConcurrent   = 5
	defaultMaxOpen         = 5
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
	Factory  Factory  `yaml:"factory" jsonschema_description:"Settings for all images: state repository, schedule, credentials, Jobs."`
	Defaults Defaults `yaml:"defaults" jsonschema_description:"Values for entries that do not set their own."`
	Images   []Image  `yaml:"images" jsonschema_description:"The enrolled images."`

	file   string
	folder fs.FS // that holds the file
	index  map[string]int
}

// Factory holds the settings for all images.
type Factory struct {
	Project       string                `yaml:"project" jsonschema_description:"Kargo Project, which is also the namespace. Default image-factory-kargo."`
	State         StateRepo             `yaml:"state" jsonschema_description:"Git repository that holds state/. Default: the origin remote of the checkout."`
	Config        ImagesFile            `yaml:"config" jsonschema_description:"Where the Jobs read images.yaml. Default: in the state repository."`
	AnalysisImage string                `yaml:"analysisImage" jsonschema_description:"imagefactory image that the Jobs run."`
	Schedule      string                `yaml:"schedule" jsonschema_description:"Schedule of the promote CronJob, in cron syntax. Default: hourly."`
	Poll          Poll                  `yaml:"poll" jsonschema_description:"How often Kargo polls the registries."`
	Windows       []Window              `yaml:"windows" jsonschema_description:"When rebuilds may start, for all images."`
	MaxConcurrent *int                  `yaml:"maxConcurrentRebuilds" jsonschema_description:"Maximum number of concurrent rebuilds per forge. Default 5."`
	Mirrors       map[string][]string   `yaml:"mirrors" jsonschema_description:"Mirrors by registry host. They are asked first, in this order; the registry itself is the fallback."`
	Credentials   map[string]Credential `yaml:"credentials" jsonschema_description:"Credentials by host, as references to Secrets. images.yaml never contains a secret itself."`
	ReportURL     string                `yaml:"reportURL" jsonschema_description:"URL of the page that imagefactory report writes. Kargo's UI links to it."`
	Lint          Lint                  `yaml:"lint" jsonschema_description:"Warnings to ignore, and sources of further ones."`
	Registries    Registries            `yaml:"registries" jsonschema_description:"Registries that Dockerfiles may use."`
	Trust         []Trust               `yaml:"trust" jsonschema_description:"Signatures or provenance that new digests of base images must carry before they can ripen."`
	Metrics       Metrics               `yaml:"metrics" jsonschema_description:"Where the Jobs send metrics at their end."`
	Scan          Scan                  `yaml:"scan" jsonschema_description:"How the cluster scans images for vulnerabilities."`
	Notify        Notify                `yaml:"notify" jsonschema_description:"Whom the passes tell what happened."`
	Receivers     []WebhookReceiver     `yaml:"webhookReceivers" jsonschema_description:"Webhooks that Kargo accepts, so that it sees a pushed image at once."`
	PullRequests  PullRequests          `yaml:"pullRequests" jsonschema_description:"The pull and merge requests of source.updatePins."`
	Jobs          Jobs                  `yaml:"jobs" jsonschema_description:"Settings of the Jobs in the cluster: proxy, CA, pull secrets, environment, placement."`
}

// StateRepo is the git repository that holds state/.
type StateRepo struct {
	URL    string `yaml:"url" jsonschema_description:"https URL of the repository."`
	Branch string `yaml:"branch" jsonschema_description:"Branch that state is pushed to; it may hold state alone. Default main."`
	Path   string `yaml:"path" jsonschema_description:"Folder of the state files in the repository. Default state."`
}

// ImagesFile is where the Jobs in the cluster read images.yaml.
type ImagesFile struct {
	Ref  string `yaml:"ref" jsonschema_description:"Branch or tag. Default: the branch of the state repository."`
	Path string `yaml:"path" jsonschema_description:"Path in the repository. Default images.yaml."`
}

// Poll holds the intervals at which Kargo polls registries.
type Poll struct {
	BaseImages *Duration `yaml:"baseImages" jsonschema_description:"Interval for base images. Default 6h."`
	Images     *Duration `yaml:"images" jsonschema_description:"Interval for enrolled images. Default 1h."`
}

// Credential names the Secrets for one host: for git, the API and the registry.
type Credential struct {
	Git      *SecretKey `yaml:"git" jsonschema_description:"Password or token to read and push git repositories."`
	API      *SecretKey `yaml:"api" jsonschema_description:"Token for the forge's API, used to start builds."`
	Registry *SecretKey `yaml:"registry" jsonschema_description:"Registry credentials, as a Docker config.json."`
	App      *App       `yaml:"app" jsonschema_description:"GitHub App, instead of a token in api: its tokens are made in the cluster."`
}

// App is a GitHub App, by the Secret with its ID, the ID of its installation and its private key.
type App struct {
	Secret string `yaml:"secret" jsonschema:"required" jsonschema_description:"Name of the Secret with the keys app-id, installation-id and private-key."`
}

// AppKeys are the keys of an App's Secret, which are also the names of the files in the Jobs.
var AppKeys = []string{"app-id", "installation-id", "private-key"}

// PushesGit reports whether the credential can push to git repositories.
func (c Credential) PushesGit() bool { return c.Git != nil || c.API != nil || c.App != nil }

// SecretKey is a key of a Secret in the Project's namespace.
type SecretKey struct {
	Secret string `yaml:"secret" jsonschema:"required" jsonschema_description:"Name of the Secret."`
	Key    string `yaml:"key" jsonschema:"required" jsonschema_description:"Key in the Secret."`
}

// Defaults are values for entries that do not set their own.
type Defaults struct {
	Registry        string            `yaml:"registry" jsonschema_description:"Registry host of managed images."`
	RebuildDelay    *Duration         `yaml:"rebuildDelay" jsonschema_description:"How old a new digest of a base image must be before it triggers a rebuild. 0 rebuilds at once."`
	MaxRebuildDelay *Duration         `yaml:"maxRebuildDelay" jsonschema_description:"Longest wait under the policy settle."`
	RebuildPolicy   RebuildPolicy     `yaml:"rebuildPolicy" jsonschema:"enum=mature,enum=settle" jsonschema_description:"mature: rebuild on the newest digest that is older than rebuildDelay. settle: wait until the tag has not moved for rebuildDelay."`
	RebuildInterval *Duration         `yaml:"rebuildInterval" jsonschema_description:"Least time between two automatic rebuilds of an image, urgent ones and those for a release by hand excepted. 0: none."`
	AutoRebuild     *bool             `yaml:"autoRebuild" jsonschema_description:"false: watch and show only, never rebuild."`
	Urgent          *Urgent           `yaml:"urgent" jsonschema_description:"When a scan releases a candidate that fixes vulnerabilities. Without it, scans only show them."`
	Owner           string            `yaml:"owner" jsonschema:"maxLength=63,pattern=^@?[A-Za-z0-9]([-A-Za-z0-9_./@]*[A-Za-z0-9])?$" jsonschema_description:"Team or person that owns images without an owner."`
	Labels          map[string]string `yaml:"labels" jsonschema_description:"Labels of all images; an entry overrides them key by key."`
	Source          SourceDefault     `yaml:"source" jsonschema_description:"Keys that most sources share."`
}

// SourceDefault holds the keys of a source that most entries share.
type SourceDefault struct {
	Provider  Provider `yaml:"provider" jsonschema:"enum=github,enum=gitlab,enum=gitea,enum=webhook,enum=git" jsonschema_description:"Kind of the forge."`
	Host      string   `yaml:"host" jsonschema_description:"Host of a self-hosted forge, for entries of the default provider."`
	Repo      string   `yaml:"repo" jsonschema_description:"Repository that several images are built from."`
	Branch    string   `yaml:"branch" jsonschema_description:"Branch that is built."`
	Workflow  string   `yaml:"workflow" jsonschema_description:"Workflow file of GitHub Actions, Gitea Actions or Forgejo Actions."`
	Platforms []string `yaml:"platforms" jsonschema_description:"Platforms that are built."`
	PinBases  *bool    `yaml:"pinBases" jsonschema_description:"true if the workflows build with the lock that imagefactory pin prints."`

	UpdatePins UpdatePins `yaml:"updatePins" jsonschema:"enum=pullRequest,enum=never" jsonschema_description:"pullRequest: move the digests of pinned references by pull or merge requests."`
}

// Image is an enrolled image: managed when it has a Source, else external.
type Image struct {
	Name            string            `yaml:"name" jsonschema:"required,minLength=1,maxLength=49,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" jsonschema_description:"Name of the entry. Its state file and its Kargo objects are named after it."`
	Registry        string            `yaml:"registry" jsonschema_description:"Registry host. Default ghcr.io; docker.io for an external image."`
	Repository      string            `yaml:"repository" jsonschema:"required,minLength=1" jsonschema_description:"Repository in the registry."`
	Source          *Source           `yaml:"source" jsonschema_description:"Where and how the image is built. Without it the image is external: watched, never rebuilt."`
	Tags            *Tags             `yaml:"tags" jsonschema_description:"Which published tags to follow. Default: analyze decides from the tags in the registry."`
	RebuildDelay    *Duration         `yaml:"rebuildDelay" jsonschema_description:"How old a new digest of a base image must be before it triggers a rebuild. Default 7d; 0 rebuilds at once."`
	MaxRebuildDelay *Duration         `yaml:"maxRebuildDelay" jsonschema_description:"Longest wait under the policy settle. Default four times rebuildDelay."`
	RebuildPolicy   RebuildPolicy     `yaml:"rebuildPolicy" jsonschema:"enum=mature,enum=settle" jsonschema_description:"mature: rebuild on the newest digest that is older than rebuildDelay. settle: wait until the tag has not moved for rebuildDelay. Default: mature with pinBases, else settle."`
	RebuildInterval *Duration         `yaml:"rebuildInterval" jsonschema_description:"Least time between two automatic rebuilds of the image, urgent ones and those for a release by hand excepted. Default 1d; 0: none."`
	Windows         []Window          `yaml:"windows" jsonschema_description:"When its rebuilds may start, together with the windows of the factory."`
	AutoRebuild     *bool             `yaml:"autoRebuild" jsonschema_description:"false: watch and show only, never rebuild. Default true."`
	Urgent          *Urgent           `yaml:"urgent" jsonschema_description:"When a scan releases a candidate that fixes vulnerabilities; keys that are left out come from defaults."`
	Owner           string            `yaml:"owner" jsonschema:"maxLength=63,pattern=^@?[A-Za-z0-9]([-A-Za-z0-9_./@]*[A-Za-z0-9])?$" jsonschema_description:"Team or person that owns the image, such as team-shop or @acme/shop."`
	Labels          map[string]string `yaml:"labels" jsonschema_description:"Labels to select the image by, such as team: shop. Its Kargo objects carry them."`

	// Line and Column are the position of the entry's name in images.yaml.
	Line, Column int `yaml:"-"`

	windows window.Set // its own and those of the factory
}

// Source is where a managed image is built from, and which workflow builds it.
type Source struct {
	Provider      Provider          `yaml:"provider" jsonschema:"enum=github,enum=gitlab,enum=gitea,enum=webhook,enum=git" jsonschema_description:"Kind of the forge."`
	Host          string            `yaml:"host" jsonschema_description:"Host of a self-hosted forge, with a port where needed. Required for gitea."`
	Repo          string            `yaml:"repo" jsonschema_description:"owner/repo; group/project for gitlab; for git and webhook a URL, or the path on host."`
	Branch        string            `yaml:"branch" jsonschema_description:"Branch that is built. Default main."`
	Dockerfile    string            `yaml:"dockerfile" jsonschema_description:"Path of the Dockerfile in the repository. Default Dockerfile."`
	Target        string            `yaml:"target" jsonschema_description:"Stage that is built. Default: the last."`
	Bake          *BakeTarget       `yaml:"bake" jsonschema_description:"Target of a Docker Bake file that says how the image is built, instead of dockerfile, target and buildContexts."`
	Compose       *ComposeService   `yaml:"compose" jsonschema_description:"Service of a Compose file that says how the image is built, instead of dockerfile, target and buildContexts."`
	BuildArgs     map[string]string `yaml:"buildArgs" jsonschema_description:"Build arguments that the workflow passes. They override those of a bake or Compose file."`
	BuildContexts map[string]string `yaml:"buildContexts" jsonschema_description:"Named build contexts that the workflow passes."`
	Platforms     []string          `yaml:"platforms" jsonschema_description:"Platforms that are built. Default: those of the bake or Compose file, or linux/amd64. A Windows platform may name its version: windows(10.0.20348)/amd64."`
	Workflow      string            `yaml:"workflow" jsonschema_description:"Workflow file of GitHub Actions, Gitea Actions or Forgejo Actions."`
	Job           string            `yaml:"job" jsonschema_description:"GitLab job, passed to the pipeline as IMAGEFACTORY_JOB so that its rules can select it."`
	Variables     map[string]string `yaml:"variables" jsonschema_description:"GitLab pipeline variables, with the same placeholders as inputs."`
	Inputs        map[string]string `yaml:"inputs" jsonschema_description:"Inputs of the workflow or the pipeline. The placeholders {{image}}, {{base}}, {{digest}}, {{promotion}}, {{repo}}, {{branch}} and {{lock}} are replaced."`
	Webhook       *WebhookRequest   `yaml:"webhook" jsonschema_description:"Request that starts a build, for the provider webhook."`
	PinBases      *bool             `yaml:"pinBases" jsonschema_description:"true if the workflow builds with the lock that imagefactory pin prints."`
	UpdatePins    UpdatePins        `yaml:"updatePins" jsonschema:"enum=pullRequest,enum=never" jsonschema_description:"pullRequest: move the digests of pinned references, once they have ripened, by one pull or merge request for all images of a repository and branch. Default never."`
	PinFiles      []string          `yaml:"pinFiles" jsonschema_description:"Further files of the repository in which updatePins moves digests: Docker Bake and Compose files, and files with marker comments."`

	WorkflowRepo   string `yaml:"workflowRepo" jsonschema_description:"Repository at the same host whose workflow or pipeline builds. Default: repo."`
	WorkflowBranch string `yaml:"workflowBranch" jsonschema_description:"Branch of workflowRepo whose workflow runs. Default main."`

	ownPlatforms bool    // the entry sets its platforms itself
	written      *Source // without what a bake or Compose file says; nil if there is none
}

// UpdatePins is how pinned references are moved.
type UpdatePins string

// Ways to move pinned references.
const (
	ByPullRequest UpdatePins = "pullRequest"
	NeverUpdate   UpdatePins = "never"
)

// PullRequests configure the pull and merge requests that move pinned references.
type PullRequests struct {
	Branch    string   `yaml:"branch" jsonschema_description:"Beginning of the names of their branches, followed by / and the branch that is built. Default imagefactory/pins."`
	Title     string   `yaml:"title" jsonschema_description:"Title. The placeholders {{bases}}, {{images}}, {{branch}} and {{repo}} are replaced."`
	Body      string   `yaml:"body" jsonschema_description:"Text, as Markdown. {{details}} is replaced by the table of the digests and what is rebuilt next; the placeholders of title work too."`
	Labels    []string `yaml:"labels" jsonschema_description:"Labels."`
	Assignees []string `yaml:"assignees" jsonschema_description:"User names of those to whom they are assigned."`
	Reviewers []string `yaml:"reviewers" jsonschema_description:"User names of those who are asked for a review; at GitHub also teams, as org/team."`
	AutoMerge string   `yaml:"autoMerge" jsonschema:"enum=merge,enum=squash,enum=rebase" jsonschema_description:"Let the forge merge them in this way, once its rules permit that. Default: people merge."`
	MaxOpen   *int     `yaml:"maxOpen" jsonschema_description:"Maximum number of open ones per repository, each for another branch. Default 5."`
}

// Provider is the kind of a forge.
type Provider string

// Providers.
const (
	GitHub Provider = "github"
	GitLab Provider = "gitlab"
	Gitea  Provider = "gitea" // Forgejo too
	Git    Provider = "git"

	WebhookProvider Provider = "webhook" // a git server, and a request that starts builds
)

// RebuildPolicy selects which of several waiting digests becomes due; see package policy.
type RebuildPolicy string

// Rebuild policies.
const (
	Mature RebuildPolicy = "mature"
	Settle RebuildPolicy = "settle"
)

// TagStrategy is how the tag to follow is selected; the values are those of Kargo's imageSelectionStrategy.
type TagStrategy string

// Tag strategies.
const (
	SemVer      TagStrategy = "SemVer"
	Digest      TagStrategy = "Digest"
	NewestBuild TagStrategy = "NewestBuild"
	Lexical     TagStrategy = "Lexical"
)

// Tags selects which published tags of an image to follow. In images.yaml a plain tag is short for
// {strategy: Digest, constraint: tag}.
type Tags struct {
	Strategy   TagStrategy `yaml:"strategy" jsonschema:"required,enum=SemVer,enum=Digest,enum=NewestBuild,enum=Lexical" jsonschema_description:"How the newest tag is selected."`
	Constraint string      `yaml:"constraint" jsonschema_description:"SemVer: a version range. Digest: the tag."`
	Allow      []string    `yaml:"allow" jsonschema_description:"Regular expressions; a tag must match one."`
	Ignore     []string    `yaml:"ignore" jsonschema_description:"Regular expressions; a tag must match none."`
}

func (t *Tags) setScalar(tag string) { *t = Tags{Strategy: Digest, Constraint: tag} }

// Managed reports whether imagefactory rebuilds the image.
func (i *Image) Managed() bool { return i.Source != nil }

// Ref returns the image's repository with its registry.
func (i *Image) Ref() string { return i.Registry + "/" + i.Repository }

// Delay returns the age that a new digest of a base image must reach before it triggers a rebuild.
func (i *Image) Delay() Duration { return *i.RebuildDelay }

// MaxDelay returns the longest wait under the policy settle.
func (i *Image) MaxDelay() Duration { return *i.MaxRebuildDelay }

// Rebuilds reports whether rebuilds start automatically.
func (i *Image) Rebuilds() bool { return i.Managed() && *i.AutoRebuild }

// PinsBases reports whether the workflow builds with the lock.
func (s *Source) PinsBases() bool { return s.PinBases != nil && *s.PinBases }

// MovesPins reports whether pinned references of the Dockerfile are moved by pull requests.
func (s *Source) MovesPins() bool { return s != nil && s.UpdatePins == ByPullRequest }

// RepoName returns the last element of the repository's path, which is usually the folder name of a checkout.
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

// File returns the path that the configuration was read from.
func (c *Config) File() string { return c.file }

// Names returns the names of all enrolled images, sorted.
func (c *Config) Names() []string { return slices.Sorted(maps.Keys(c.index)) }

// Suggest returns a "did you mean" hint for an unknown name of an image, or of something else that has one of the other names.
func (c *Config) Suggest(name string, others ...string) string {
	names := append(c.Names(), others...)
	if len(names) > 12 {
		hint := suggest(name, names)
		if !strings.HasPrefix(hint, "did you mean") {
			return ""
		}
		return hint
	}
	return suggest(name, names)
}
