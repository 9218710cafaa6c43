package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
)

func newPin(env *Env, paths *pathFlags) *cobra.Command {
	output, partial := &outputFlag{}, false
	cmd := &cobra.Command{
		Use:   "pin NAME",
		Short: "Print the lock: the digests that a build of an image should use",
		Long: `Pin prints, from state alone, which digest of each base a build of the image should use: the newest one that is due,
but never an older one than the published image was built on. A build with it never uses a digest that has not waited for
the rebuildDelay. As a source policy, BuildKit applies it without a change to the Dockerfile. A workflow that builds
with it is enrolled with source.pinBases: true.`,
		Example: `  imagefactory pin web -o json
  imagefactory pin web -o source-policy > policy.json
  EXPERIMENTAL_BUILDKIT_SOURCE_POLICY=policy.json docker buildx build .`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: imageNames(paths),
		RunE: func(_ *cobra.Command, names []string) error {
			if err := output.check(); err != nil {
				return err
			}
			f, err := fleet.Open(paths.paths())
			if err != nil {
				return err
			}
			lock, err := f.Pin(names[0], env.Now())
			if err != nil {
				return err
			}
			if err := checkLock(env, lock, partial); err != nil {
				return err
			}
			if output.value == "source-policy" {
				return report.JSON(env.Out, lock.SourcePolicy())
			}
			return report.Print(env.Out, output.value, Lock{report.NewMeta("Lock"), lock})
		},
	}
	output.add(cmd, "json", "source-policy")
	cmd.Flags().BoolVar(&partial, "partial", false, "leave out bases whose digest is not known yet, instead of failing")
	return cmd
}

// checkLock returns an error if a base has no digest in the lock, because a build would then use the tag's current one.
func checkLock(env *Env, lock *fleet.Lock, partial bool) error {
	for _, b := range lock.Bases {
		if b.Origin != policy.FromNowhere {
			continue
		}
		if !partial {
			return fmt.Errorf("pinning %q: no digest of %s is known yet, so a build would use whatever its tag holds (run `imagefactory analyze`, or accept this with --partial)", lock.Image, b.Ref)
		}
		if err := env.errorf("warning: no digest of %s is known yet: a build uses whatever its tag holds", b.Ref); err != nil {
			return err
		}
	}
	return nil
}
