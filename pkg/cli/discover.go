package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/discover"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type discoverOptions struct {
	dirs       []string
	orgs       []string // at GitHub or Gitea
	groups     []string // at GitLab
	provider   string
	host       string
	archived   bool
	forks      bool
	wait       bool
	repo       repoFlags // credentials
	confidence string
	write      bool
	request    bool
	save       enrollOptions // output and dry run
}

func newDiscover(env *Env, paths *pathFlags) *cobra.Command {
	o := &discoverOptions{}
	cmd := &cobra.Command{
		Use:   "discover --dir FOLDER... | --org NAME... | --group NAME...",
		Short: "Find the images that repositories build, and propose their entries",
		Long: `Discover reads repositories and finds their Dockerfiles, and which GitHub workflow, GitLab job, bake file, compose file, makefile
or script builds and pushes what. It prints a proposed entry for each image with its reasons and its confidence: high if
everything is written there, medium if something depends on a condition or has to be changed first, low if something is not
known; an expression that cannot be resolved is shown as it is written. It also lists the Dockerfiles whose image nothing pushes,
and images of yours that others are built on and nobody enrolled.

With --org and --group it reads the repositories of an organisation or a group through the API of the forge, without archived ones
and forks. Responses are kept in a cache: another run costs a conditional request for each repository, and goes on where a rate
limit ended the last one. A repository that cannot be read does not stop the others.

With --write it adds the proposed entries to images.yaml, as enroll does. An entry that is there is never changed: differences are
shown. With --pull-request it proposes them by a pull or merge request for the images.yaml in the repository. Nothing of what is
read is run.`,
		Example: `  imagefactory discover --dir ~/src/acme
  imagefactory discover --dir . -o wide
  imagefactory discover --org acme --wait
  imagefactory discover --group acme/shop --host gitlab.example.com
  imagefactory discover --dir ~/src/acme --write --min-confidence high
  imagefactory discover --org acme --pull-request
  imagefactory discover --dir ~/src/acme -o entries > more.yaml    # edit, then: imagefactory enroll --from more.yaml`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDiscover(cmd.Context(), env, paths, o) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.dirs, "dir", nil, "`folder` of checkouts, or a checkout (repeatable)")
	f.StringArrayVar(&o.orgs, "org", nil, "`organisation` or user at GitHub, or at Gitea with --provider gitea (repeatable)")
	f.StringArrayVar(&o.groups, "group", nil, "`group` at GitLab, with its subgroups (repeatable)")
	f.StringVar(&o.provider, "provider", string(config.GitHub), "forge of --org: github or gitea")
	f.StringVar(&o.host, "host", "", "`host` of a self-hosted forge")
	f.BoolVar(&o.archived, "archived", false, "read archived repositories too")
	f.BoolVar(&o.forks, "forks", false, "read forks too")
	f.BoolVar(&o.wait, "wait", false, "wait for the end of a rate limit (default: stop, and say when to run again)")
	f.StringVar(&o.repo.credentials, "credentials", cmp.Or(env.Getenv("IMAGEFACTORY_CREDENTIALS"), kargo.CredentialsPath),
		"`folder` with credentials as files: USE/HOST/token (env IMAGEFACTORY_CREDENTIALS)")
	f.BoolVar(&o.write, "write", false, "add the proposed entries to images.yaml")
	f.BoolVar(&o.request, "pull-request", false, "propose the new entries by a pull or merge request for images.yaml")
	f.BoolVar(&o.save.dryRun, "dry-run", false, "with --write, print a diff and write nothing")
	f.StringVar(&o.confidence, "min-confidence", string(discover.Medium), "least `confidence` of the entries that are written: high or medium")
	_ = cmd.RegisterFlagCompletionFunc("min-confidence", cobra.FixedCompletions([]string{"high", "medium"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	o.save.output.add(cmd, "table", "wide", "entries")
	return cmd
}

func runDiscover(ctx context.Context, env *Env, paths *pathFlags, o *discoverOptions) error {
	least := discover.Confidence(o.confidence)
	kinds := 0
	for _, given := range [][]string{o.dirs, o.orgs, o.groups} {
		kinds += min(len(given), 1)
	}
	switch {
	case kinds == 0:
		return fleet.Usagef("discover needs --dir FOLDER, --org NAME or --group NAME, e.g. imagefactory discover --dir ~/src/acme")
	case kinds > 1:
		return fleet.Usagef("--dir, --org and --group exclude each other")
	case o.provider != string(config.GitHub) && o.provider != string(config.Gitea):
		return fleet.Usagef("--provider %q: want github or gitea; --group is for GitLab", o.provider)
	case o.provider == string(config.Gitea) && o.host == "":
		return fleet.Usagef("--provider gitea needs --host")
	case least != discover.High && least != discover.Medium:
		return fleet.Usagef("--min-confidence %q: want high or medium", o.confidence)
	case o.write && o.request:
		return fleet.Usagef("--write and --pull-request exclude each other")
	case o.save.dryRun && !o.write:
		return fleet.Usagef("--dry-run belongs to --write")
	}
	if err := o.save.output.check(); err != nil {
		return err
	}
	cfg, err := o.enrolled(paths)
	if err != nil {
		return err
	}
	found, err := o.find(ctx, env, cfg)
	if err != nil {
		return err
	}
	switch {
	case o.write:
		err = o.writeEntries(env, paths, found, least)
	case o.request:
		err = o.propose(ctx, env, paths, found, least)
	default:
		err = o.print(env, found, least)
	}
	if err != nil || len(found.Unread) == 0 {
		return err
	}
	return o.unread(env, found)
}

// find reads the repositories.
func (o *discoverOptions) find(ctx context.Context, env *Env, cfg *config.Config) (*discover.Report, error) {
	if len(o.dirs) > 0 {
		return discover.Folders(ctx, o.dirs, cfg)
	}
	provider, names := config.Provider(o.provider), o.orgs
	if len(o.groups) > 0 {
		provider, names = config.GitLab, o.groups
	}
	var orgs []discover.Organisation
	for _, name := range names {
		orgs = append(orgs, discover.Organisation{
			Provider: provider, Host: hostname.Normalize(cmp.Or(o.host, config.HomeHost(provider))), Name: name, Archived: o.archived, Forks: o.forks,
		})
	}
	clients := o.repo.clients(env)
	http := clients.http()
	http.Now = env.Now // for which --wait waits
	api := forgeapi.New(forgeapi.Options{HTTP: http}.WithStore(clients.credentials))
	opts := discover.Options{API: api, CacheDir: cacheDir(env), Progress: clients.progress("repository")}
	if o.wait {
		sleep := env.Sleep
		if sleep == nil {
			sleep = httpx.Sleep
		}
		opts.Wait = func(ctx context.Context, host string, until time.Time) error {
			if err := env.infof("rate limit of %s reached; waiting until %s", host, until.UTC().Format(time.RFC3339)); err != nil {
				return err
			}
			return sleep(ctx, until.Sub(env.Now())+time.Second)
		}
	}
	return discover.Organisations(ctx, orgs, cfg, opts)
}

// unread prints which repositories could not be read. That is an error.
func (o *discoverOptions) unread(env *Env, found *discover.Report) error {
	if found.Later != nil {
		err := env.errorf("rate limit reached: %s not read; run the same command again after %s, it goes on from there (or use --wait)",
			plural.Form(len(found.Unread), "repository was", "repositories were"), found.Later.UTC().Format(time.RFC3339))
		return cmp.Or(err, errReported)
	}
	for _, u := range found.Unread[:min(len(found.Unread), 10)] {
		if err := env.errorf("%s: %s", u.Repository, u.Error); err != nil {
			return err
		}
	}
	return cmp.Or(env.errorf("%s not read", plural.Form(len(found.Unread), "repository was", "repositories were")), errReported)
}

// enrolled returns images.yaml. Without --write, it need not exist.
func (o *discoverOptions) enrolled(paths *pathFlags) (*config.Config, error) {
	cfg, err := config.LoadFile(paths.config)
	if errors.Is(err, fs.ErrNotExist) && !o.write {
		return config.Load(strings.NewReader(""), paths.config)
	}
	return cfg, err
}

func (o *discoverOptions) print(env *Env, found *discover.Report, least discover.Confidence) error {
	switch output := o.save.output; {
	case output.forPrograms():
		return report.Print(env.Out, output.value, Discovery{report.NewMeta("Discovery"), found})
	case output.value == "entries":
		text, err := found.Entries(least)
		if err != nil {
			return err
		}
		if _, err := env.Out.Write(text); err != nil {
			return fmt.Errorf("printing entries: %w", err)
		}
		return nil
	default:
		return env.style(output.wide()).Discovery(env.Out, found, output.wide())
	}
}

// writeEntries adds the proposed entries to images.yaml.
func (o *discoverOptions) writeEntries(env *Env, paths *pathFlags, found *discover.Report, least discover.Confidence) error {
	text, err := readConfig(paths)
	if err != nil {
		return err
	}
	list, err := found.EntryList(least)
	if err != nil {
		return err
	}
	added, err := config.AppendList(text, paths.config, list, "")
	if err != nil {
		return err
	}
	for i := range found.Items {
		p := &found.Items[i]
		for _, d := range p.Differences {
			if err := env.infof("%s differs and stays: %s is %q in images.yaml, %q in the repository", p.Name, d.Key, d.Have, d.Want); err != nil {
				return err
			}
		}
	}
	if n := found.Counts()[discover.Incomplete]; n > 0 {
		if err := env.infof("%d incomplete, not enrolled; without --write, discover shows what is not known", n); err != nil {
			return err
		}
	}
	return o.save.save(env, paths, text, added.Text, enrolled(added, paths.config))
}

// discoverBranch is the branch of the request that discover opens.
const discoverBranch = "imagefactory/discover"

// propose opens a request that adds the proposed entries to the images.yaml in the repository, or updates the open one.
func (o *discoverOptions) propose(ctx context.Context, env *Env, paths *pathFlags, found *discover.Report, least discover.Confidence) error {
	f, err := fleet.OpenWithoutScans(paths.paths())
	if partial := (*fleet.StateError)(nil); errors.As(err, &partial) {
		f, err = partial.Rest, nil
	}
	if err != nil {
		return err
	}
	list, err := found.EntryList(least)
	if err != nil {
		return err
	}
	src, path, err := repositoryOf(f)
	if err != nil {
		return err
	}
	repo, err := forge.New(forge.Options{API: o.repo.clients(env).api}).Repository(ctx, src)
	if err != nil {
		return err
	}
	var added *config.Added
	result, err := propose.File(ctx, repo, propose.FileChange{
		Into: src.Branch, From: discoverBranch, Path: path, Title: "Enroll images that discover found", Body: report.DiscoveryRequest(found, least),
		Change: func(text []byte) ([]byte, error) {
			if added, err = config.AppendList(text, path, list, ""); err != nil {
				return nil, err
			}
			return added.Text, nil
		},
	})
	if err != nil {
		return fmt.Errorf("proposing entries in %s at %s: %w", src.Repo, src.Host, err)
	}
	for _, p := range result.Problems {
		if err := env.errorf("warning: %s", p); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%s: %s", result.Action, cmp.Or(result.Message, plural.Form(len(added.Names), "entry", "entries")))
	if result.Action == propose.Nothing {
		text = "nothing to propose: all entries are there"
	}
	return env.infof("%s", strings.TrimSpace(text+" "+result.URL))
}

// repositoryOf returns the repository and the path of images.yaml.
func repositoryOf(f *fleet.Fleet) (*config.Source, string, error) {
	where, err := f.Location()
	if err != nil {
		return nil, "", err
	}
	u, err := url.Parse(where.StateURL)
	if err != nil || u.Host == "" {
		return nil, "", fmt.Errorf("invalid URL %q of the repository of images.yaml: want an https URL (set factory.state.url)", where.StateURL)
	}
	src := &config.Source{
		Provider: config.ProviderAt(u.Host), Host: u.Host, Repo: strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git"), Branch: f.Config.Factory.Config.Ref,
	}
	for i := range f.Config.Images {
		if s := f.Config.Images[i].Source; s != nil && s.Host == u.Host && src.Provider == "" {
			src.Provider = s.Provider
		}
	}
	if src.Provider == "" {
		return nil, "", fmt.Errorf("the forge at %s is not known: no entry has a source there", u.Host)
	}
	return src, where.ConfigPath, nil
}
