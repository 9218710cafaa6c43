package cli

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/state"
)

func newPause(env *Env, paths *pathFlags) *cobra.Command {
	o := &stateEdit{}
	var by, until string
	cmd := &cobra.Command{
		Use:   "pause [NAME...]",
		Short: "Keep rebuilds from being started",
		Long: `Pause keeps rebuilds of the named images from being started, or of all images if no name is given: by the CronJob, by the
Jobs of the analysis, and by promote --direct. Rebuilds that run are not stopped, urgent ones do not start either, and a person
may still promote by hand in Kargo. Digests go on being recorded and ripen meanwhile, so what is due then starts after the
pause. It ends at --until, or with resume. One commit of state/pause.yaml reaches every place that starts rebuilds; the reason
goes into it.

For times that recur, set windows in images.yaml.`,
		Example: `  imagefactory pause --reason "the registry is being moved" --push
  imagefactory pause web api --reason "release week" --until 5d --push
  imagefactory pause --reason "company holidays" --until 2027-01-02T08:00:00Z --push`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			if o.reason == "" {
				return fleet.Usagef("--reason is required: it is recorded in state")
			}
			now := env.Now()
			end, err := endOf(until, now)
			if err != nil {
				return err
			}
			p := state.Pause{Reason: state.Text(o.reason), By: state.Text(by), At: state.At(now), Until: end}
			return o.run(cmd.Context(), env, paths, func(f *fleet.Fleet) (*fleet.Change, error) { return f.Pause(names, p) })
		},
	}
	o.add(env, cmd, "")
	cmd.Flags().StringVar(&until, "until", "", "`TIME` at which it ends by itself: a duration such as 5d, a date, or an RFC 3339 time (default: until resume)")
	cmd.Flags().StringVar(&by, "by", "", "`NAME` of who pauses, recorded in state (default: the user of the CI run or of this machine)")
	cmd.PreRun = func(*cobra.Command, []string) {
		by = cmp.Or(by, env.Getenv("GITHUB_ACTOR"), env.Getenv("GITLAB_USER_LOGIN"), env.Getenv("USER"), env.Getenv("USERNAME"))
	}
	return cmd
}

// endOf returns the end of a pause; the zero time for none.
func endOf(text string, now time.Time) (state.Time, error) {
	if text == "" {
		return state.Time{}, nil
	}
	var d config.Duration
	if d.UnmarshalText([]byte(text)) == nil {
		return state.At(now.Add(d.Std())), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return state.At(at), nil
		}
	}
	return state.Time{}, fleet.Usagef("invalid --until %q: want a duration such as 5d, a date such as 2027-01-02, or a time such as 2027-01-02T08:00:00Z", text)
}

func newResume(env *Env, paths *pathFlags) *cobra.Command {
	o := &stateEdit{}
	cmd := &cobra.Command{
		Use:   "resume [NAME...]",
		Short: "End a pause",
		Long: `Resume ends the pause of the named images, or that of all images if no name is given. Images that were paused by name stay
paused when that of all images ends. Rebuilds that are due start with the next pass of promote.`,
		Example: `  imagefactory resume --push
  imagefactory resume web --push`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return o.run(cmd.Context(), env, paths, func(f *fleet.Fleet) (*fleet.Change, error) { return f.Resume(names) })
		},
	}
	o.addWithoutReason(env, cmd)
	return cmd
}

// printPause prints on stderr that all images are paused, which their statuses show of those only that are due.
func (env *Env) printPause(st *state.State) error {
	if st.Pauses == nil || st.Pauses.All == nil || st.Pauses.All.Over(env.Now()) {
		return nil
	}
	_, err := fmt.Fprintf(env.Err, "all images are %s; `imagefactory resume` ends that\n", st.Pauses.All)
	return err
}
