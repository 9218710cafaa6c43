package cli

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/servertime"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/store"
)

// repoFlags locate the git repository that holds state and images.yaml.
type repoFlags struct {
	url, branch, path, configRef string
	push                         bool
	credentials                  string
	once                         bool // do not retry: a person waits, and nothing is lost
	tolerant                     bool // work on the rest if state files cannot be read
}

func (r *repoFlags) add(env *Env, cmd *cobra.Command) {
	r.addPlace(env, cmd)
	cmd.Flags().BoolVar(&r.push, "push", false, "commit the changes and push them")
}

// addPlace adds the flags of a command that pushes nothing.
func (r *repoFlags) addPlace(env *Env, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.url, "state-repo", "", "`URL` of the git repository that holds state; images.yaml is read from it too (default with --push: factory.state.url, or the origin of the checkout)")
	f.StringVar(&r.branch, "branch", "", "`branch` of the state (default main, or factory.state.branch)")
	f.StringVar(&r.path, "path", "", "`folder` of the state files in the repository (default state, or factory.state.path)")
	f.StringVar(&r.configRef, "config-ref", "", "branch or tag (`ref`) that images.yaml is read from (default the branch of the state)")
	f.StringVar(&r.credentials, "credentials", cmp.Or(env.Getenv("IMAGEFACTORY_CREDENTIALS"), kargo.CredentialsPath),
		"`folder` with credentials as files: USE/HOST/token (env IMAGEFACTORY_CREDENTIALS)")
}

// remote reports whether state is in a repository and not in a folder.
func (r *repoFlags) remote() bool { return r.url != "" || r.push }

// shown returns the name of the state folder in messages.
func (r *repoFlags) shown(paths *pathFlags) string {
	if r.url != "" {
		return cmp.Or(r.path, config.DefaultStateFolder)
	}
	return paths.state
}

// maxStateBlob is the size from which files of the state repository are not fetched; images.yaml is smaller.
const maxStateBlob = 8 << 20

// clients are the external services that a command uses.
type clients struct {
	env         *Env
	credentials *credentials.Store
	api         *forgeapi.Clients
	forges      *source.Forges
	registries  *registry.Client
	clock       *servertime.Clock
}

func (r *repoFlags) clients(env *Env) *clients {
	o := &clients{env: env, clock: servertime.New(env.Clock)}
	o.credentials = credentials.New(credentials.Options{Dir: r.credentials, Getenv: env.Getenv, HTTP: o.http()})
	o.api = forgeapi.New(forgeapi.Options{HTTP: o.http()}.WithStore(o.credentials))
	o.forges = source.NewForges(source.Options{API: o.api, Credentials: o.credentials, CacheDir: cacheDir(env), HTTP: o.http()})
	return o
}

// http configures the clients of servers.
func (o *clients) http() httpx.Options {
	return httpx.Options{Clock: o.clock, Logger: o.env.log, Sleep: o.env.Sleep}
}

// git returns the transport to the state repository. It has no circuit breaker: a push is retried until the deadline.
func (o *clients) git() *httpx.Transport {
	h := o.http()
	h.MaxFailures = -1
	return gitrepo.NewTransport(h)
}

// open returns the store that holds the fleet, and a function that closes it.
func (r *repoFlags) open(ctx context.Context, o *clients, paths *pathFlags) (st store.Store, closeStore func(), err error) {
	if !r.remote() {
		return store.Logged(store.Folder{Paths: paths.paths(), Partial: r.tolerant}, o.env.log), func() {}, nil
	}
	at := *r
	configPath := filepath.ToSlash(paths.config)
	if r.url == "" {
		local, err := fleet.Open(paths.paths())
		if partial := (*fleet.StateError)(nil); r.tolerant && errors.As(err, &partial) {
			local, err = partial.Rest, nil
		}
		if err != nil {
			return nil, nil, err
		}
		where, err := local.Location()
		if err != nil {
			return nil, nil, err
		}
		f := local.Config.Factory
		at.url, configPath = where.StateURL, where.ConfigPath
		at.path, at.branch = cmp.Or(r.path, where.StatePath), cmp.Or(r.branch, f.State.Branch)
		at.configRef = cmp.Or(r.configRef, f.Config.Ref)
	}
	at.branch, at.path = cmp.Or(at.branch, config.DefaultBranch), path.Clean(cmp.Or(at.path, config.DefaultStateFolder))
	if at.configRef == at.branch {
		at.configRef = ""
	}
	maxFailures := 0 // the default
	if r.once {
		maxFailures = 1
	}
	repo, err := gitrepo.Open(ctx, gitrepo.Options{
		URL: at.url, Branch: at.branch, Path: at.path, Now: o.env.Now, MaxBlob: maxStateBlob, Transport: o.git(), MaxFailures: maxFailures,
		Auth: func(ctx context.Context, host string) (string, string, error) {
			t, err := o.credentials.Token(ctx, credentials.Git, host)
			return t.Username, t.Value, err
		},
	})
	if err != nil { // before any request
		return nil, nil, fleet.Usagef("%s", err)
	}
	s := &store.Repository{Repo: repo, StatePath: at.path, Config: configPath, ConfigRef: at.configRef, Partial: r.tolerant}
	logged := store.Logged(s, o.env.log)
	if !r.push {
		return logged, func() { _ = repo.Close() }, nil
	}
	n := &notifying{Store: logged, clients: o}
	return n, func() { n.wait(); _ = repo.Close() }, nil
}

// analysis returns the clients that an analysis uses.
func (o *clients) analysis(sourceDir string, offline bool, show *progress.Progress) (analyze.NewClients, error) {
	from := source.Source(o.forges)
	if sourceDir != "" {
		local, err := source.NewLocal(sourceDir)
		if err != nil {
			return nil, err
		}
		from = local
	}
	registries := o.registryClients(offline, show)
	return func(f *fleet.Fleet) (analyze.Clients, error) {
		s, err := registries(f)
		s.Source = from
		return s, err
	}, nil
}

// registryClients returns the clients of an analysis that reads no Dockerfile.
func (o *clients) registryClients(offline bool, show *progress.Progress) analyze.NewClients {
	return func(f *fleet.Fleet) (analyze.Clients, error) {
		o.clock.Trust(f.Config.ServerHosts()...)
		s := analyze.Clients{Progress: show, Now: o.env.Now, Clock: o.clock}
		if !offline {
			s.Registry, s.HTTP, s.API = o.registry(f), httpx.New(o.http()), o.api
		}
		return s, nil
	}
}

// registry returns the registry client of the whole run, whose cache all passes share.
func (o *clients) registry(f *fleet.Fleet) *registry.Client {
	if o.registries == nil {
		o.registries = registry.New(registry.Options{
			Keychain: o.credentials.Keychain(), Mirrors: f.Config.Factory.Mirrors, CacheDir: cacheDir(o.env),
			HTTP: o.http(),
		})
	}
	return o.registries
}

// resetBreakers closes the circuit breakers of the pass that has ended.
func (o *clients) resetBreakers() {
	o.credentials.ResetBreakers()
	o.api.ResetBreakers()
	o.clock.Reset()
	if o.registries != nil {
		o.registries.ResetBreakers()
	}
}

// cacheDir returns the folder for responses of forges and registries, so that an unchanged file costs one conditional
// request; "" if the environment names no home.
func cacheDir(env *Env) string {
	if dir := env.Getenv("IMAGEFACTORY_CACHE_DIR"); dir != "" {
		return dir
	}
	base := env.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home := env.Getenv("HOME")
		if home == "" {
			return ""
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "imagefactory")
}

// progress returns the progress that is shown on stderr: no bar between the lines of a log.
func (o *clients) progress(unit string) *progress.Progress {
	logs := o.env.log.Enabled(context.Background(), slog.LevelInfo)
	return progress.New(o.env.Err, progress.Options{
		Terminal: progress.IsTerminal(o.env.Err) && !logs, Width: progress.Width(o.env.Err), Quiet: o.env.quiet, Now: time.Now, Unit: unit,
	})
}

// printUsage prints doubts about the clock, and the number of requests to registries with --verbose or when few pulls are left.
func (o *clients) printUsage(ctx context.Context) error {
	if doubt := o.clock.Doubt(); doubt != "" {
		if err := o.env.errorf("warning: %s", doubt); err != nil {
			return err
		}
	}
	if o.registries == nil {
		return nil
	}
	all := o.env.log.Enabled(ctx, slog.LevelDebug)
	for _, line := range requestCounts(o.registries.Requests(), all) {
		if err := o.env.infof("asked %s", line); err != nil {
			return err
		}
	}
	return nil
}

// dryRun is a store that keeps the last change in memory instead of saving it.
type dryRun struct {
	store.Store
	change *fleet.Change
	fleet  *fleet.Fleet
}

// Update implements store.Store.
func (d *dryRun) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (store.Saved, error) {
	return d.Store.Update(ctx, func(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		c, err := do(ctx, f)
		d.change, d.fleet = c, f
		return nil, err
	})
}
