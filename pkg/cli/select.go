package cli

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// selectFlags select images by labels and owners instead of names.
type selectFlags struct {
	selector string
	owners   []string
}

func (o *selectFlags) add(cmd *cobra.Command, paths *pathFlags) {
	f := cmd.Flags()
	f.StringVarP(&o.selector, "selector", "l", "", "only images that this label `selector` matches, such as team=shop,tier!=test or owner=acme.shop")
	f.StringSliceVar(&o.owners, "owner", nil, "only images of this `owner`, or of several, separated by commas")
	_ = cmd.RegisterFlagCompletionFunc("selector", completeLabels(paths, func(values map[string][]string) []string {
		var out []string
		for _, key := range slices.Sorted(maps.Keys(values)) {
			for _, value := range values[key] {
				out = append(out, key+"="+value)
			}
		}
		return out
	})) // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("owner", completeLabels(paths, ownerWords))
}

// ownerWords returns the owners in use.
func ownerWords(values map[string][]string) []string { return values[config.OwnerKey] }

// completeLabels completes the last of the values that commas separate.
func completeLabels(paths *pathFlags, words func(map[string][]string) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cfg, err := config.LoadFile(paths.config)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		before := typed[:strings.LastIndexByte(typed, ',')+1]
		out := words(cfg.LabelValues())
		for i := range out {
			out[i] = before + out[i]
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// selection returns the images that names or the flags select.
func (o *selectFlags) selection(names []string) (fleet.Selection, error) {
	s, err := config.ParseSelector(o.selector, o.owners)
	switch {
	case err != nil && strings.Contains(o.selector, "@"):
		return fleet.Selection{}, fleet.Usagef("invalid label selector %q: labels have no @ (select an owner with --owner)", o.selector)
	case err != nil:
		return fleet.Selection{}, fleet.Usagef("%s", err)
	case s != nil && len(names) > 0:
		return fleet.Selection{}, fleet.Usagef("names and --selector or --owner exclude each other")
	}
	return fleet.Selection{Names: names, Labels: s}, nil
}

// opener is [fleet.Open] or [fleet.OpenWithoutScans].
type opener func(fleet.Paths) (*fleet.Fleet, error)

// openSelected opens the fleet to show it, and prints why labels select no image of it.
func openSelected(env *Env, paths *pathFlags, open opener, s fleet.Selection) (*fleet.Fleet, error) {
	f, err := openToShow(env, paths, open)
	if err != nil {
		return nil, err
	}
	return f, warnNoMatch(env, f.Config, s)
}

// openToShow opens the fleet for a command that only shows it. If state files cannot be read, it prints that and returns the rest.
// Without state, because that is elsewhere, there is nothing to show.
func openToShow(env *Env, paths *pathFlags, open opener) (*fleet.Fleet, error) {
	f, err := open(paths.paths())
	var partial *fleet.StateError
	switch {
	case errors.As(err, &partial):
		return partial.Rest, env.printLeftOut(partial.Rest)
	case err != nil:
		return nil, err
	}
	return f, f.StateElsewhere()
}

// printLeftOut prints, once, which state files were left out of a fleet, if any. The command then ends with exit code 2.
func (env *Env) printLeftOut(f *fleet.Fleet) error {
	if len(f.LeftOut()) == 0 || env.incomplete {
		return nil
	}
	env.incomplete = true
	return report.Findings(env.Err, f.LeftOut())
}

// warnNoMatch prints why labels select no image. For a person that is no error, as with kubectl.
func warnNoMatch(env *Env, cfg *config.Config, s fleet.Selection) error {
	if s.Labels == nil || len(cfg.Select(s.Labels)) > 0 {
		return nil
	}
	return env.infof("%s", cfg.ExplainNoMatch(s.Labels))
}
