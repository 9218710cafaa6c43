package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Kargo is the Backend that creates Promotions in Kargo.
type Kargo struct {
	// Cluster reaches the API server. Its default Namespace is factory.project.
	Cluster cluster.Options
}

func (k Kargo) executor(f *fleet.Fleet) (executor, error) {
	o := k.Cluster
	o.Namespace = cmp.Or(o.Namespace, f.Config.Factory.Project)
	client, err := cluster.New(o)
	if err != nil {
		return nil, err
	}
	return &kargoExecutor{client: client}, nil
}

// kargoExecutor is the executor of [Kargo]. It reads Stages and Promotions once.
type kargoExecutor struct {
	client *cluster.Client

	stages     *cluster.Stages
	promotions map[string]cluster.Promotion // by rebuild: its label, or the name of a Promotion that a person created
	external   []cluster.Promotion
	failed     error // of load: it is not tried again for each rebuild
}

func (k *kargoExecutor) load(ctx context.Context) error {
	if k.promotions != nil || k.failed != nil {
		return k.failed
	}
	err := k.read(ctx)
	if err != nil && ctx.Err() == nil {
		k.failed = err
	}
	return err
}

func (k *kargoExecutor) read(ctx context.Context) error {
	stages, err := k.client.Stages(ctx)
	if err != nil {
		return err
	}
	list, err := k.client.Promotions(ctx)
	if err != nil {
		return err
	}
	k.stages, k.promotions, k.external = stages, map[string]cluster.Promotion{}, nil
	for _, p := range list {
		if p.Rebuild != "" {
			if before, ok := k.promotions[p.Rebuild]; !ok || before.Created.Before(p.Created) {
				k.promotions[p.Rebuild] = p
			}
			continue
		}
		k.promotions[p.Name] = p
		if !p.Done() || p.Succeeded() {
			k.external = append(k.external, p)
		}
	}
	return nil
}

// Ready implements [executor]: the Stage must exist, and Freight for it.
func (k *kargoExecutor) Ready(ctx context.Context, r *rebuildRequest) (string, error) {
	if err := k.load(ctx); err != nil {
		return "", err
	}
	if len(r.For) == 0 {
		return "all its bases are pinned, so no Freight can trigger it; start the build by hand or with --direct", nil
	}
	if !slices.ContainsFunc(r.For, wanted.watched) {
		return "Kargo can watch none of its bases, so it has no Stage; start the build by hand or with --direct", nil
	}
	if len(k.stages.Rebuild) == 0 {
		return fmt.Sprintf("Kargo project %q has no rebuild Stages (apply dist, or pass --project)", k.client.Project()), nil
	}
	if stage := kargo.RebuildStage(r.Image.Name); !k.stages.Rebuild[stage] {
		return fmt.Sprintf("no Stage %q in Kargo (run `imagefactory synth` and apply dist, or start the build by hand)", stage), nil
	}
	if why := k.Closed(r.Image.Name); why != "" {
		return why, nil
	}
	err := k.client.Ready(ctx, promotionSpec(r))
	if errors.Is(err, cluster.ErrNoFreight) {
		return err.Error(), nil
	}
	return "", err
}

// Closed implements closer: it returns why the promotion windows of an image's Stage are closed.
func (k *kargoExecutor) Closed(image string) string {
	if k.stages == nil {
		return ""
	}
	return k.stages.Closed[kargo.RebuildStage(image)]
}

// promotionSpec returns the Promotion to create for a request.
func promotionSpec(r *rebuildRequest) cluster.PromotionSpec {
	out := cluster.PromotionSpec{Rebuild: r.ID, Image: r.Image.Name}
	for _, w := range r.For {
		if w.watched() {
			out.Wanted = append(out.Wanted, cluster.Freight{Warehouse: w.Warehouse, Digest: w.Digest})
		}
	}
	return out
}

// Find implements [executor].
func (k *kargoExecutor) Find(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	if p, ok := k.promotions[r.ID]; ok {
		return statusOf(&p), nil
	}
	if stage := kargo.RebuildStage(r.Image.Name); r.Status == state.Requested && !k.stages.Rebuild[stage] {
		return nil, fmt.Errorf("no Stage %q in Kargo project %q, so its Promotions cannot be listed (apply dist, or pass --project)",
			stage, k.client.Project())
	}
	return nil, nil
}

// Warnings implements warner: it returns what keeps Kargo from observing.
func (k *kargoExecutor) Warnings() []string {
	if k.stages == nil {
		return nil
	}
	out := make([]string, len(k.stages.Holds))
	for i, h := range k.stages.Holds {
		by := ""
		if h.Actor != "" {
			by = " by " + h.Actor
		}
		out[i] = fmt.Sprintf("auto-promotion of Stage %s is held%s: new Freight of Warehouse %s starts no analysis; resume auto-promotion in Kargo's UI", h.Stage, by, h.Warehouse)
	}
	return out
}

// LookupRun implements [executor]: the Promotion names the run even after the image was seen.
func (k *kargoExecutor) LookupRun(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	return k.Find(ctx, r)
}

// Start implements [executor].
func (k *kargoExecutor) Start(ctx context.Context, r *rebuildRequest) (*runStatus, error) {
	p, err := k.client.Create(ctx, promotionSpec(r))
	if err != nil {
		return nil, err
	}
	return statusOf(p), nil
}

// External implements [executor].
func (k *kargoExecutor) External(ctx context.Context) ([]externalRebuild, error) {
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	out := make([]externalRebuild, len(k.external))
	for i := range k.external {
		p := &k.external[i]
		if p.Digest == "" { // it is still queued
			var err error
			if p.Digest, err = k.client.DigestOf(ctx, p.Freight); err != nil {
				return nil, err
			}
		}
		out[i] = externalRebuild{ID: p.Name, Stage: p.Stage, By: p.Actor, Digest: p.Digest, Started: p.Created, Over: p.Done(), runStatus: *statusOf(p)}
	}
	return out, nil
}

// statusOf returns the status of a Promotion. If the forge did not return the run, the Promotion ends as soon as the build
// has started; its result then shows in the registry.
func statusOf(p *cluster.Promotion) *runStatus {
	out := &runStatus{Status: state.Running, RunURL: p.RunURL}
	if p.RunID != kargo.UnknownRun {
		out.Run = p.RunID
	}
	switch {
	case !p.Done(), p.Succeeded() && out.Run == "":
	case p.Succeeded():
		out.Status = state.Built
	default:
		out.Status, out.Message = state.Failed, p.Message
		out.Refused = p.Phase == "Failed" && p.RunID == "" // a step that gives up or is aborted ends it with another phase
		if out.Message == "" {
			out.Message = "the Promotion ended as " + p.Phase
		}
	}
	return out
}
