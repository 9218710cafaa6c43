package doctor

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// gitHTTP configures the transport to the state repository. It needs no breaker, as it sends one request.
func (d *doctor) gitHTTP() httpx.Options {
	h := d.HTTP
	h.MaxFailures = -1
	return h
}

// stateRepository checks that state can be read and pushed.
func (d *doctor) stateRepository(ctx context.Context) []Check {
	if d.Location.StateURL == "" {
		return []Check{notChecked("set factory.state.url", "unknown")}
	}
	repo, err := gitrepo.Open(ctx, gitrepo.Options{
		URL: d.Location.StateURL, Branch: d.Config.Factory.State.Branch, Path: d.Location.StatePath, Now: d.Now,
		Transport: gitrepo.NewTransport(d.gitHTTP()),
		Auth: func(ctx context.Context, host string) (string, string, error) {
			t, err := d.token(ctx, credentials.Git, host)
			return t.Username, t.Value, err
		},
	})
	if err != nil {
		return []Check{bad("correct factory.state.url", "%s", err)}
	}
	defer repo.Close()
	access, err := repo.Access(ctx)
	hint := d.Credentials.Hint(credentials.Git, host(d.Location.StateURL))
	switch {
	case err != nil:
		return []Check{bad("check factory.state.url and the network; "+hint, "cannot be read: %s", err)}
	case access.Write != nil:
		return []Check{bad("give the credential write access to the contents: "+hint, "can be read, but not written: %s", access.Write)}
	case !access.Branch:
		return []Check{ok("can be read and written; the first push creates the branch %s", d.Config.Factory.State.Branch)}
	}
	return []Check{ok("branch %s of %s can be read and written, unless a rule protects it", d.Config.Factory.State.Branch, repo)}
}

// fewPulls is the number of remaining pulls below which a registry is worth a warning.
const fewPulls = 20

// registries returns the probes of registries: each reads one base image and one enrolled image, since the first is often
// public and the second is not.
func (d *doctor) registries() []probe {
	bases := map[string]state.Base{} // by registry; one that exists, if possible
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
	var out []probe
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		out = append(out, probe{"registry " + host, func(ctx context.Context) []Check {
			var out []Check
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

// registryWith resolves a tag. If the tag has not moved, that takes one HEAD request, which does not count as a pull.
func (d *doctor) registryWith(ctx context.Context, host string, base state.Base) Check {
	ref := state.Ref{Registry: base.Registry, Repository: base.Repository, Tag: base.Tag}
	var known *state.Snapshot
	if base.CurrentDigest != "" {
		known = &state.Snapshot{Digest: base.CurrentDigest}
	}
	_, err := d.Registry.Snapshot(ctx, ref, known)
	return d.registryAnswer(host, ref.String(), err)
}

func (d *doctor) registryAnswer(host, what string, err error) Check {
	left := -1
	if u, asked := d.Registry.Requests()[host]; asked {
		left = u.Remaining
	}
	login := registry.SignIn + " (" + host + ": {registry: ...})"
	switch {
	case registry.Missing(err):
		return ok("reachable; %s is not published", what)
	case registry.Denied(err):
		return bad(login, "%s", strings.Replace(err.Error(), "; "+registry.SignIn, "", 1))
	case err != nil:
		return bad("check the name, the network and factory.mirrors", "%s", err)
	case left >= 0 && left < fewPulls:
		return warning(login+" for a higher limit, or set factory.mirrors", "only %d pulls left for now", left)
	case left >= 0:
		return ok("%s can be read; %d pulls left for now", what, left)
	}
	return ok("%s can be read", what)
}
