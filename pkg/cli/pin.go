package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/store"
)

type pinOptions struct {
	repoFlags
	output  outputFlag
	partial bool
}

func newPin(env *Env, paths *pathFlags) *cobra.Command {
	o := &pinOptions{}
	cmd := &cobra.Command{
		Use:   "pin NAME",
		Short: "Print the lock: the digests that a build of an image should use",
		Long: `Pin prints, from state alone, which digest of each base a build of the image should use: the newest one that is due,
but never an older one than the published image was built on. A build with it never uses a digest that has not waited for
the rebuildDelay. As a source policy, BuildKit applies it without a change to the Dockerfile. A workflow that builds
with it is enrolled with source.pinBases: true.

With --state-repo, images.yaml and state are read from a git repository, so a build needs no checkout of it. The GitHub
Action imagefactory/pin and the CI/CD component for GitLab do this.`,
		Example: `  imagefactory pin web -o json
  imagefactory pin web -o source-policy > policy.json
  EXPERIMENTAL_BUILDKIT_SOURCE_POLICY="$PWD/policy.json" docker buildx build .
  imagefactory pin web -o source-policy --state-repo https://github.com/acme/image-factory > policy.json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE:              func(cmd *cobra.Command, names []string) error { return runPin(cmd.Context(), env, paths, o, names[0]) },
	}
	o.output.add(cmd, "json", "source-policy")
	cmd.Flags().BoolVar(&o.partial, "partial", false, "leave out bases whose digest is not known yet, instead of failing")
	o.addPlace(env, cmd)
	return cmd
}

func runPin(ctx context.Context, env *Env, paths *pathFlags, o *pinOptions, name string) error {
	if err := o.output.check(); err != nil {
		return err
	}
	o.tolerant = true // the files of other images must not stop this build
	st, closeStore, err := o.open(ctx, o.clients(env), paths)
	if err != nil {
		return err
	}
	defer closeStore()
	f, err := store.View(ctx, st)
	if err != nil {
		return err
	}
	lock, err := f.Pin(name, env.Now())
	if err != nil {
		return err
	}
	if err := checkLock(env, lock, o.partial); err != nil {
		return err
	}
	if o.output.value == "source-policy" {
		return report.JSON(env.Out, lock.SourcePolicy())
	}
	return report.Print(env.Out, o.output.value, Lock{report.NewMeta("Lock"), lock})
}

// checkLock returns an error if a base has no digest in the lock, because a build would then use the tag's current one.
func checkLock(env *Env, lock *fleet.Lock, partial bool) error {
	for _, ref := range lock.Unknown() {
		if !partial {
			return fmt.Errorf("pinning %q: no digest of %s is known yet, so a build would use whatever its tag holds (run `imagefactory analyze`, or accept this with --partial)", lock.Image, ref)
		}
		if err := env.errorf("warning: no digest of %s is known yet: a build uses whatever its tag holds", ref); err != nil {
			return err
		}
	}
	return nil
}
