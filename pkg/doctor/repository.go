package doctor

import (
	"context"
	"maps"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// stateRepository checks that state can be read and pushed.
func (d *doctor) stateRepository(ctx context.Context) []Finding {
	if d.Location.StateURL == "" {
		return []Finding{notChecked("set factory.state.url", "it is not known")}
	}
	repo, err := gitrepo.Open(ctx, gitrepo.Options{
		URL: d.Location.StateURL, Branch: d.Config.Factory.State.Branch, Path: d.Location.StatePath, Now: d.Now,
		Transport: gitrepo.NewTransport(httpx.Options{Base: d.Transport, MaxFailures: -1}),
		Auth: func(ctx context.Context, host string) (string, string, error) {
			t, err := d.token(ctx, credentials.Git, host)
			return t.Username, t.Value, err
		},
	})
	if err != nil {
		return []Finding{bad("correct factory.state.url", "%s", err)}
	}
	defer repo.Close()
	access, err := repo.Access(ctx)
	hint := d.Credentials.Hint(credentials.Git, host(d.Location.StateURL))
	switch {
	case err != nil:
		return []Finding{bad("check factory.state.url and the network; "+hint, "it cannot be read: %s", err)}
	case access.Write != nil:
		return []Finding{bad("give the credential write access to the contents: "+hint, "it can be read and not be written to: %s", access.Write)}
	case !access.Branch:
		return []Finding{ok("it can be read and written to; the first push makes the branch %s", d.Config.Factory.State.Branch)}
	}
	return []Finding{ok("branch %s of %s can be read, and the repository be written to", d.Config.Factory.State.Branch, repo)}
}

// fewPulls is how many pulls a registry must have left.
const fewPulls = 20

// registries asks each host for one base image, and for one of our own: where the first is public, the second often is not.
func (d *doctor) registries() []Check {
	bases := map[string]state.Base{} // one that is known to exist, where there is one
	for _, name := range d.Graph.Bases() {
		ref := d.Graph.BaseRef(name)
		known := state.Base{Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag}
		if b := d.State.Bases[name]; b != nil {
			known.CurrentDigest = b.CurrentDigest
		}
		if have, there := bases[ref.Registry]; ref.Tag != "" && (!there || have.CurrentDigest == "") {
			bases[ref.Registry] = known
		}
	}
	repositories, hosts := map[string]string{}, map[string]bool{}
	for _, managed := range []bool{true, false} {
		for i := range d.Config.Images {
			img := &d.Config.Images[i]
			_, there := repositories[img.Registry]
			_, base := bases[img.Registry]
			if hosts[img.Registry] = true; img.Managed() == managed && !there && (managed || !base) {
				repositories[img.Registry] = img.Ref()
			}
		}
	}
	for host := range bases {
		hosts[host] = true
	}
	var out []Check
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		out = append(out, Check{"registry " + host, func(ctx context.Context) []Finding {
			var out []Finding
			if base, is := bases[host]; is {
				if out = append(out, d.registryWith(ctx, host, base)); out[0].Result != OK {
					return out
				}
			}
			if own := repositories[host]; own != "" {
				_, err := d.Registry.Tags(ctx, own)
				out = append(out, d.registryAnswer(host, own, err))
			}
			return out
		}})
	}
	return out
}

// registryWith asks for a tag. One that has not moved costs a HEAD, which is not counted as a pull.
func (d *doctor) registryWith(ctx context.Context, host string, base state.Base) Finding {
	ref := state.Ref{Registry: base.Registry, Repository: base.Repository, Tag: base.Tag}
	var known *state.Snapshot
	if base.CurrentDigest != "" {
		known = &state.Snapshot{Digest: base.CurrentDigest}
	}
	_, err := d.Registry.Snapshot(ctx, ref, known)
	return d.registryAnswer(host, ref.String(), err)
}

func (d *doctor) registryAnswer(host, what string, err error) Finding {
	left := -1
	if u, asked := d.Registry.Requests()[host]; asked {
		left = u.Remaining
	}
	login := "sign in with docker login, or set DOCKER_AUTH_CONFIG or factory.credentials (" + host + ": {registry: ...})"
	switch {
	case registry.Missing(err):
		return ok("it answers; %s is not published", what)
	case registry.Denied(err):
		return bad(login, "%s", err)
	case err != nil:
		return bad("check the name, the network and factory.mirrors", "%s", err)
	case left >= 0 && left < fewPulls:
		return warning(login+" for a higher limit, or set factory.mirrors", "it answers, and has only %d pulls left for now", left)
	case left >= 0:
		return ok("%s can be read; %d pulls are left for now", what, left)
	}
	return ok("%s can be read", what)
}
