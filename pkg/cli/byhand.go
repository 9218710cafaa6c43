package cli

import (
	"context"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/store"
)

func newRelease(env *Env, paths *pathFlags) *cobra.Command {
	untrusted := false
	cmd := newVerdictCmd(env, paths, &cobra.Command{
		Use:   "release BASE[@DIGEST]",
		Short: "Make a waiting digest of a base image due now",
		Long: `Release makes a candidate of a base image due now: the newest, or the one that DIGEST names. A withdrawn candidate (its tag
moved back) must be named. BASE is the name of a base image (node-22-slim) or its reference (node:22-slim); the first
digits of DIGEST are enough where they are unique. It also ends a hold. The reason goes into the state file and, with
--push, into the commit.

A candidate that is not verified as factory.trust requires is refused. With --untrusted it is released all the same, and
images are built on it whoever has signed it.`,
		Example: `  imagefactory release node:22-slim --reason "fixes CVE-2026-1234" --push
  imagefactory release node-22-slim@0123abcd4567 --reason "tested by hand"`,
	}, func(f *fleet.Fleet, base, reason string, now time.Time) (*fleet.Change, error) {
		if untrusted {
			return f.ReleaseUntrusted(base, reason, now)
		}
		return f.Release(base, reason, now)
	})
	cmd.Flags().BoolVar(&untrusted, "untrusted", false, "release a candidate even if its signature or provenance could not be verified")
	return cmd
}

func newHold(env *Env, paths *pathFlags) *cobra.Command {
	return newVerdictCmd(env, paths, &cobra.Command{
		Use:   "hold BASE[@DIGEST]",
		Short: "Keep a digest of a base image from becoming due",
		Long: `Hold keeps a candidate of a base image from becoming due until it is released: the newest, or the one that DIGEST names.
Other candidates are not affected. BASE is the name of a base image (node-22-slim) or its reference (node:22-slim); the first
digits of DIGEST are enough where they are unique. The reason goes into the state file and, with --push, into the commit.`,
		Example: `  imagefactory hold node:22-slim --reason "breaks TLS" --push`,
	}, (*fleet.Fleet).Hold)
}

func newReset(env *Env, paths *pathFlags) *cobra.Command {
	cmd := newVerdictCmd(env, paths, &cobra.Command{
		Use:   "reset NAME",
		Short: "Allow rebuilds of an image again after three failures",
		Long: `Reset clears the failures of an image. After three failures in a row, imagefactory starts no rebuild of an image until
then. The reason goes into the state file and, with --push, into the commit.`,
		Example: `  imagefactory reset web --reason "the workflow is fixed" --push`,
	}, func(f *fleet.Fleet, name, reason string, _ time.Time) (*fleet.Change, error) {
		return f.Reset(name, reason)
	})
	cmd.ValidArgsFunction = imageNames(paths)
	return cmd
}

// newVerdictCmd completes a command that changes the state of the image or base image that its argument names.
func newVerdictCmd(env *Env, paths *pathFlags, cmd *cobra.Command, verb func(*fleet.Fleet, string, string, time.Time) (*fleet.Change, error)) *cobra.Command {
	o := &stateEdit{}
	cmd.Args = args(cobra.ExactArgs(1))
	cmd.ValidArgsFunction = baseNames(paths)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		if o.reason == "" {
			return fleet.Usagef("--reason is required: it is recorded in state")
		}
		return o.run(cmd.Context(), env, paths, func(f *fleet.Fleet) (*fleet.Change, error) {
			return verb(f, names[0], o.reason, env.Now())
		})
	}
	o.add(env, cmd, "")
	return cmd
}

func newPrune(env *Env, paths *pathFlags) *cobra.Command {
	o := &stateEdit{}
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Archive the state of images that are no longer enrolled or used",
		Long: `Prune moves the state of images that are no longer enrolled, and of base images that nothing uses any longer, into the
folder archive of the state folder. If one of them is enrolled or used again, its state is restored. Base images are kept
until every enrolled image has been analyzed, because an image that was not may use them.`,
		Example: `  imagefactory prune --dry-run
  imagefactory prune --reason "the shop was shut down" --push`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), env, paths, func(f *fleet.Fleet) (*fleet.Change, error) { return f.Prune(o.reason) })
		},
	}
	o.add(env, cmd, "no longer in use")
	return cmd
}

// stateEdit is shared by the commands that change state by hand.
type stateEdit struct {
	repoFlags
	verb   string // name of the command
	reason string
	dryRun bool
	output outputFlag
}

func (o *stateEdit) add(env *Env, cmd *cobra.Command, reason string) {
	o.addWithoutReason(env, cmd)
	cmd.Flags().StringVar(&o.reason, "reason", reason, "reason, recorded in state")
}

func (o *stateEdit) addWithoutReason(env *Env, cmd *cobra.Command) {
	o.verb = cmd.Name()
	o.repoFlags.add(env, cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print a diff of the state and keep nothing")
	o.output.add(cmd, "text")
}

// run changes state, saves it and prints the change.
func (o *stateEdit) run(ctx context.Context, env *Env, paths *pathFlags, verb func(*fleet.Fleet) (*fleet.Change, error)) error {
	if err := o.output.check(); err != nil {
		return err
	}
	change, saved, err := o.change(ctx, env, paths, verb)
	switch {
	case err != nil:
		return err
	case o.output.forPrograms():
		return report.Print(env.Out, o.output.value, StateChange{
			report.NewMeta("StateChange"), o.dryRun, append([]string{}, change.Summary()...), change.Changed, saved.Commit,
		})
	case len(change.Changed) == 0:
		return env.infof("nothing to %s", o.verb)
	case o.dryRun:
		if err := report.Diff(env.Out, change.Diff(o.shown(paths))); err != nil {
			return err
		}
		return env.infof("dry run: would %s", change.Plan)
	case saved.Commit != "":
		return env.infof("%s. Pushed to %s as %s.", change.Done, saved.Where, saved.Commit)
	}
	files := make([]string, len(change.Changed))
	for i, p := range change.Changed {
		files[i] = path.Join(filepath.ToSlash(o.shown(paths)), p)
	}
	return env.infof("%s. Commit and push %s.", change.Done, plural.Listed(files, 3))
}

func (o *stateEdit) change(ctx context.Context, env *Env, paths *pathFlags, verb func(*fleet.Fleet) (*fleet.Change, error)) (*fleet.Change, store.Saved, error) {
	if o.url != "" && !o.push {
		o.dryRun = true
	}
	st, closeStore, err := o.open(ctx, o.clients(env), paths)
	if err != nil {
		return nil, store.Saved{}, err
	}
	defer closeStore()
	dry := &dryRun{Store: st}
	if o.dryRun {
		st = dry
	}
	var change *fleet.Change
	saved, err := st.Update(ctx, func(_ context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		var err error
		change, err = verb(f)
		return change, err
	})
	return change, saved, dry.end(env, err)
}
