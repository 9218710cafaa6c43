// Package bootstrap renders the files around images.yaml: the Argo CD Application, the CI workflows, and templates of the
// Secrets, which the team owns and edits afterwards; and the workflows that build images with the lock.
package bootstrap

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// CI is a kind of CI system.
type CI string

// CI systems.
const (
	GitHub CI = "github"
	GitLab CI = "gitlab"
	Gitea  CI = "gitea" // Forgejo too
)

// ciFiles are the files of each CI system, and the templates that they are rendered from.
var ciFiles = map[CI]struct{ path, template string }{
	GitHub: {GitHubFile, "github"},
	GitLab: {GitLabFile, "gitlab"},
	Gitea:  {giteaFile, "github"},
}

// Options describe the repository of a fleet.
type Options struct {
	Config   *config.Config
	Location kargo.Options // where the Jobs find state and images.yaml

	RepoURL    string // of the repository with images.yaml and dist
	Guessed    bool   // RepoURL comes from an ssh remote at a host that images.yaml does not name
	CheckedOut string // its branch here, if any
	ConfigPath string // in it
	StatePath  string // empty when it is outside
	DistPath   string
	Split      bool // dist is a file per resource

	Direct          bool // no cluster: CI starts the rebuilds
	PullRequest     bool // CI proposes dist by a request instead of pushing it
	CI              []CI
	Version         string // of imagefactory that CI installs
	Commit          string // of that version, if it is a release: GitHub then uses its action, GitLab its image
	ArgoCDNamespace string
}

// branch returns the branch with images.yaml and dist.
func (o *Options) branch() string {
	f := &o.Config.Factory
	return cmp.Or(f.Config.Ref, f.State.Branch, config.DefaultBranch)
}

// sameRepo reports whether state is in the repository with images.yaml.
func (o *Options) sameRepo() bool {
	return hostname.SameRepository(o.RepoURL, o.Location.StateURL)
}

// elsewhere reports whether state is on another branch than images.yaml, or in another repository.
func (o *Options) elsewhere() bool {
	return !o.sameRepo() || o.branch() != cmp.Or(o.Config.Factory.State.Branch, config.DefaultBranch)
}

// Placeholder stands for every value that the team fills in.
const Placeholder = "REPLACE-ME"

// Paths of the files, from the root of the repository.
const (
	NamespaceFile       = "deploy/namespace.yaml"
	ApplicationFile     = "deploy/application.yaml"
	kustomizationFile   = "deploy/kustomization.yaml"
	SecretsFile         = "deploy/secrets.example.yaml"
	ExternalSecretsFile = "deploy/external-secrets.example.yaml"
	doctorFile          = "deploy/doctor-job.yaml"
	GitHubFile          = ".github/workflows/imagefactory.yml"
	GitLabFile          = ".gitlab/imagefactory.gitlab-ci.yml"
	giteaFile           = ".gitea/workflows/imagefactory.yml"
)

// Files renders all files: path in the repository to content. The same options give the same bytes.
func Files(o Options) (map[string][]byte, error) {
	if o.PullRequest && slices.Contains(o.CI, Gitea) {
		return nil, errors.New("--pull-request is for CI at GitHub and GitLab, and that of this repository is at Gitea or Forgejo: there, CI pushes dist")
	}
	v, err := newView(&o)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	if !o.Direct {
		files = map[string]string{
			NamespaceFile: "namespace.yaml", ApplicationFile: "application.yaml", kustomizationFile: "kustomization.yaml",
			SecretsFile: "secrets.yaml", ExternalSecretsFile: "external-secrets.yaml", doctorFile: "doctor-job.yaml",
		}
	}
	suffix := ".yml"
	if o.Direct {
		suffix = "-direct.yml"
	}
	for _, ci := range o.CI {
		files[ciFiles[ci].path] = ciFiles[ci].template + suffix
	}
	out := make(map[string][]byte, len(files))
	for _, file := range slices.Sorted(maps.Keys(files)) {
		of := *v
		if of.Gitea = file == giteaFile; of.Gitea {
			of.Report = false // its artifacts are not those of GitHub, and it has no pages
		}
		if out[file], err = render(files[file], &of); err != nil {
			return nil, fmt.Errorf("rendering %q: %w", file, err)
		}
		if of.Gitea {
			out[file] = withGitHubURLs(out[file])
		}
	}
	return out, nil
}

// withGitHubURLs names the actions of a workflow by their URLs: Gitea and Forgejo may look for others in another place.
func withGitHubURLs(workflow []byte) []byte {
	return usesAction().ReplaceAll(workflow, []byte("${1}"+gitHubActions))
}

const gitHubActions = "https://github.com/"

var usesAction = lazy.Regexp(`(?m)^( *(?:- )?uses: )`)

// view is the data of the templates.
type view struct {
	*Options
	Project     string
	Branch      string // that holds images.yaml and dist
	StateBranch string
	StateHost   string
	Elsewhere   bool // state is on another branch or in another repository
	CloneState  bool // CI clones state to look at it
	Report      bool // CI writes the page of the fleet, and
	Publish     bool // publishes it
	SameRepo    bool // state is in this repository
	Builds      bool // images are built in this repository
	SetOrigin   bool // CI must set the remote origin to the URL that people use
	StateDir    string
	Synth       string
	Secrets     []kargo.Secret
	Tokens      []variable // for the APIs of the forges
	Gitea       bool       // the workflow is for Gitea or Forgejo
	NoPush      bool       // the Jobs have no credential to push state
	PushToken   string     // variable with the credential that state is pushed with
	Registries  []variable
	Channels    []variable // with the name of the channel as host
	Doctor      string
	ShellImage  string // image of the release with a shell and git
}

// variable is a variable of CI with a credential, and the host that it is for.
type variable struct{ Name, Host string }

func newView(o *Options) (*view, error) {
	f := &o.Config.Factory
	state, err := url.Parse(o.Location.StateURL)
	if err != nil || state.Host == "" {
		return nil, fmt.Errorf("the state repository %q has no https URL: set factory.state.url", o.Location.StateURL)
	}
	v := &view{
		Options: o, Project: f.Project, Branch: o.branch(), StateBranch: cmp.Or(f.State.Branch, config.DefaultBranch),
		StateHost: state.Host, SetOrigin: f.State.URL == "" && !o.Direct, StateDir: o.StatePath, Synth: "imagefactory synth",
		Secrets:    slices.DeleteFunc(kargo.Secrets(o.Config), func(s kargo.Secret) bool { return s.Kept }),
		ShellImage: "ghcr.io/imagefactory/imagefactory:" + o.Version + "-shell",
		PushToken:  credentials.Variable(credentials.Git, state.Host),
	}
	v.SameRepo = o.sameRepo()
	if v.Elsewhere = o.elsewhere(); v.Elsewhere {
		v.StateDir = path.Join("../imagefactory-state", o.Location.StatePath)
	} else if v.StateDir == "" {
		return nil, errors.New("the state folder is outside the repository: set factory.state, so that init --full can write its paths")
	}
	v.Builds = slices.ContainsFunc(o.Config.Images, func(img config.Image) bool { return fleet.BuiltFrom(&img, o.RepoURL) })
	v.CloneState = v.Elsewhere && !o.Direct
	v.Report, v.Publish = v.CloneState || !v.Elsewhere, f.ReportURL != ""
	push := f.Credentials[state.Host]
	v.NoPush = len(o.Config.Images) > 0 && !push.PushesGit()
	if o.Split {
		v.Synth += " --split"
	}
	if v.Elsewhere && f.State.Path == "" && o.Location.StatePath != config.DefaultStateFolder {
		return nil, fmt.Errorf("state is not below images.yaml in CI (set factory.state.path to %q)", o.Location.StatePath)
	}
	for _, text := range []string{o.RepoURL, o.Location.StateURL, v.Branch, v.StateBranch, o.ConfigPath, o.DistPath, v.StateDir} {
		if strings.ContainsAny(text, "$\n") { // CI would expand it
			return nil, fmt.Errorf("%q contains a $ or a line break (rename it, or write the CI configuration yourself)", text)
		}
	}
	v.hosts()
	for i := range f.Notify.Channels {
		if c := &f.Notify.Channels[i]; c.Secret != nil {
			v.Channels = append(v.Channels, variable{credentials.ChannelVariable(c.Name), c.Name})
		}
	}
	job, err := yamlenc.Marshal(kargo.DoctorJob(o.Config, o.Location))
	v.Doctor = string(job)
	return v, err
}

// forge reports whether images are built from repositories at a host.
func (v *view) forge(host string) bool {
	return slices.ContainsFunc(v.Config.Images, func(img config.Image) bool { return img.Source != nil && img.Source.Host == host })
}

// hosts collects the hosts that CI needs credentials for.
func (v *view) hosts() {
	forges, registries := map[string]bool{}, map[string]bool{}
	for i := range v.Config.Images {
		if s := v.Config.Images[i].Source; s != nil && s.Host != "" {
			forges[s.Host] = true
		}
	}
	for host, c := range v.Config.Factory.Credentials {
		if c.Registry != nil {
			registries[host] = true
		}
	}
	for _, host := range slices.Sorted(maps.Keys(forges)) {
		v.Tokens = append(v.Tokens, variable{credentials.Variable(credentials.API, host), host})
	}
	for _, host := range slices.Sorted(maps.Keys(registries)) {
		v.Registries = append(v.Registries, variable{strings.Replace(credentials.Variable(credentials.API, host), "_API_TOKEN_", "_REGISTRY_", 1), host})
	}
}

// permissions are what a token of a provider needs for each purpose.
type permissions struct{ pushAndRead, push, readGit, start, startAndRead, read string }

var permissionsOf = map[config.Provider]permissions{
	config.GitHub: {
		pushAndRead: "Contents: write on the state repository, Contents: read on the others", push: "Contents: write", readGit: "Contents: read",
		start: "Actions: write", startAndRead: "Actions: write, Contents: read", read: "Contents: read",
	},
	config.GitLab: {
		pushAndRead: "write_repository and read_api", push: "write_repository", readGit: "read_repository",
		start: "scope api", startAndRead: "scope api", read: "read_api and read_repository",
	},
	config.Gitea: {
		pushAndRead: "write:repository", push: "write:repository", readGit: "read:repository",
		start: "write:repository", startAndRead: "write:repository", read: "read:repository",
	},
}

// contents describes what a key of a Secret must hold.
func (v *view) contents(u kargo.SecretUse) string {
	p := permissionsOf[v.provider(u.Host)]
	var can, needs string
	switch {
	case u.Use == kargo.WebhookUse:
		return "a long random text (openssl rand -hex 32): the shared secret of the webhook receiver " + u.Host
	case u.Use == kargo.HeaderUse:
		return "the value of a header with which builds are started at " + u.Host
	case u.Use == "app":
		return v.ofApp(u)
	case u.Use == kargo.NotifyUse:
		return "the secret of the channel " + u.Host + " of factory.notify"
	case u.Use == "registry":
		return "a docker config.json that may pull from " + u.Host
	case u.Use == "git" && u.Host == v.StateHost && v.Config.Factory.Credentials[u.Host].API == nil && v.forge(u.Host):
		can, needs = "pushes state and reads Dockerfiles", p.pushAndRead
	case u.Use == "git" && u.Host == v.StateHost:
		can, needs = "pushes state", p.push
	case u.Use == "git":
		can, needs = "reads repositories", p.readGit
	case u.Kargo && !u.Jobs:
		can, needs = "starts builds and reads their runs", p.start
	case u.Kargo:
		can, needs = "starts builds, reads their runs and Dockerfiles", p.startAndRead
	default:
		can, needs = "reads Dockerfiles", p.read
	}
	text := "a token of " + u.Host + " that " + can
	if needs != "" {
		text += " (" + needs + ")"
	}
	return text
}

// ofApp describes a key of the Secret of a GitHub App.
func (v *view) ofApp(u kargo.SecretUse) string {
	switch u.Key {
	case "app-id":
		return "the ID of a GitHub App at " + u.Host
	case "installation-id":
		return "the ID of its installation, at the end of the URL of the installation's settings page"
	}
	needs := "Actions: write, Contents: read"
	if u.Host == v.StateHost && v.Config.Factory.Credentials[u.Host].Git == nil {
		needs = "Actions: write, Contents: write"
	}
	return "its private key, as GitHub makes it; permissions of the App: " + needs
}

// literal returns s as a string in an expression of GitHub Actions.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// readers returns the programs that read a key.
func readers(u kargo.SecretUse) string {
	switch {
	case u.Kargo && u.Jobs:
		return "Kargo and the Jobs"
	case u.Kargo:
		return "Kargo"
	}
	return "the Jobs"
}

// exampleValue returns an example of the value of a key, to be filled in.
func exampleValue(u kargo.SecretUse) string {
	if u.Use != "registry" {
		return Placeholder
	}
	host := u.Host
	if host == config.DefaultExternalReg {
		host = "https://index.docker.io/v1/" // as docker login calls it
	}
	return fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, host, Placeholder, Placeholder)
}

// secretType returns the type of a Secret.
func secretType(s kargo.Secret) string {
	if len(s.Keys) == 1 && s.Keys[0].Key == ".dockerconfigjson" {
		return "kubernetes.io/dockerconfigjson"
	}
	return "Opaque"
}

// keys returns the keys of a Secret, each once.
func keys(s kargo.Secret) []kargo.SecretUse {
	var out []kargo.SecretUse
	for _, u := range s.Keys {
		if !slices.ContainsFunc(out, func(o kargo.SecretUse) bool { return o.Key == u.Key }) {
			out = append(out, u)
		}
	}
	return out
}

// pattern returns a regular expression for all repositories of a registry, as Kargo names them.
func pattern(host string) string { return "^" + regexp.QuoteMeta(host) + "/" }

// provider returns the kind of forge of a host, if it is known.
func (v *view) provider(host string) config.Provider { return providerOf(v.Config, host) }

func providerOf(cfg *config.Config, host string) config.Provider {
	if s := cfg.ForgeAt(host); s != nil {
		return s.Provider
	}
	if p := config.ProviderAt(host); p != "" {
		return p
	}
	for _, p := range []config.Provider{config.GitHub, config.GitLab, config.Gitea} {
		if strings.Contains(host, string(p)) { // github.example.com
			return p
		}
	}
	if strings.Contains(host, "forgejo") {
		return config.Gitea
	}
	return ""
}

// CIOf returns the CI system of the host of a repository, or both if it is unknown.
func CIOf(cfg *config.Config, repoURL string) []CI {
	if u, err := url.Parse(repoURL); err == nil {
		if p := CI(providerOf(cfg, u.Host)); ciFiles[p].path != "" {
			return []CI{p}
		}
	}
	return []CI{GitHub, GitLab}
}
