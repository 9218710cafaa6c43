// Package cli is the command line of imagefactory: each command parses its flags, makes one call, and prints. Data
// goes to stdout, everything else to stderr.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// Exit codes.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitDifference = 3
)

// System returns the Env of this process and silences the loggers of libraries.
func System() *Env {
	silence()
	return &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, Clock: time.Now, Getenv: os.Getenv}
}

// silence keeps libraries from writing to stderr: net/http logs what a server sends out of turn, and client-go URLs.
func silence() {
	log.SetOutput(io.Discard)
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
}

// Env is what a command uses of its process: streams, clock and environment.
type Env struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Now    func() time.Time
	Clock  func() time.Time // like Now, and compared with the time of servers; nil skips the comparison
	Getenv func(string) string
	Sleep  func(context.Context, time.Duration) error // waits before a request is sent again; nil: real time passes

	// Watching is called, if set, by a command that saves nothing and goes on until it is interrupted.
	Watching func()

	quiet bool         // errors and warnings only
	color string       // auto, always or never
	log   *slog.Logger // set from --verbose and the environment

	incomplete bool // state files could not be read, and the rest of the fleet is shown
}

// colors are the values of --color.
var colors = []string{"auto", "always", "never"}

// style returns how tables on stdout look. Unless they are wide, they fit the width of a terminal.
func (env *Env) style(wide bool) report.Style {
	s := report.Style{Color: env.color == "always"}
	if progress.IsTerminal(env.Out) {
		if !wide {
			s.Width = progress.Width(env.Out)
		}
		s.Color = s.Color || env.color == "auto" && env.Getenv("NO_COLOR") == ""
	}
	return s
}

// infof prints a line for people to stderr, unless --quiet is given.
func (env *Env) infof(format string, a ...any) error {
	if env.quiet {
		return nil
	}
	return env.errorf(format, a...)
}

// errorf prints an error or a warning to stderr. Control characters of untrusted text are replaced.
func (env *Env) errorf(format string, a ...any) error {
	_, err := fmt.Fprintln(env.Err, sanitize.Terminal(fmt.Sprintf(format, a...)))
	return err
}

// errDifference sets exit code 3: dist differs from what synth would write.
var errDifference = errors.New("out of date")

// errInvalid sets exit code 2 after the errors were printed.
var errInvalid = errors.New("invalid input")

// errReported sets exit code 1 after the errors were printed.
var errReported = errors.New("failed")

// Main runs a command line and returns its exit code.
func Main(ctx context.Context, args []string, env *Env) int {
	own := *env
	own.log = slog.New(slog.DiscardHandler)
	env = &own
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	err := root.ExecuteContext(ctx)
	var (
		findings finding.List
		usage    *fleet.UsageError
	)
	switch {
	case err == nil && env.incomplete:
		return exitUsage
	case err == nil:
		return exitOK
	case errors.Is(err, errInvalid):
		return exitUsage
	case errors.Is(err, errReported):
		return exitFailed
	case errors.Is(err, errDifference), errors.Is(err, errConditionMet):
		return exitDifference
	case errors.As(err, &findings):
		_ = report.Findings(env.Err, findings) // nothing better can be done when stderr is gone
		return exitUsage
	case errors.As(err, &usage):
		_ = env.errorf("imagefactory: %s", err)
		return exitUsage
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		_ = env.errorf("imagefactory: %s", unknownCommand(err))
		return exitUsage
	default:
		_ = env.errorf("imagefactory: %s", err)
		return exitFailed
	}
}

// unknownCommand returns cobra's message and its suggestions in one line.
func unknownCommand(err error) string {
	message, similar, _ := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if names := strings.Fields(similar); len(names) > 0 {
		message += "; did you mean " + strings.Join(names, " or ") + "?"
	}
	return message + " (see `imagefactory --help`)"
}

// pathFlags locate the files of a fleet.
type pathFlags struct{ config, state, out string }

func (p *pathFlags) paths() fleet.Paths {
	return fleet.Paths{Config: p.config, StateDir: p.state, OutDir: p.out}
}

// setDefaults places folders that were not given beside images.yaml, wherever the command runs.
func (p *pathFlags) setDefaults() {
	if p.state == "" {
		p.state = filepath.Join(filepath.Dir(p.config), config.DefaultStateFolder)
	}
	if p.out == "" {
		p.out = filepath.Join(filepath.Dir(p.config), config.DefaultOutFolder)
	}
}

// groups are the headings of the list of commands.
var groups = []struct {
	id, title string
	commands  []string
}{
	{"start", "Set up:", []string{"init", "discover", "enroll", "workflow", "migrate", "doctor", "notify"}},
	{"run", "Analyze and rebuild:", []string{"analyze", "scan", "synth", "promote", "validate"}},
	{"see", "Look:", []string{"status", "describe", "plan", "graph", "report", "bases", "pin", "audit", "metrics"}},
	{"decide", "Decide by hand:", []string{"release", "hold", "pause", "resume", "reset", "prune"}},
	{"other", "Other:", []string{"completion", "schema", "version"}},
}

// Command returns the whole command line, with its help and none of the environment's defaults, for documentation.
func Command() *cobra.Command {
	return newRoot(&Env{Out: io.Discard, Err: io.Discard, Now: time.Now, Getenv: func(string) string { return "" }})
}

func newRoot(env *Env) *cobra.Command {
	paths := &pathFlags{}
	root := &cobra.Command{
		Use:   "imagefactory",
		Short: "Keep container images fresh when their base images change",
		Long: `imagefactory rebuilds your images when their base images change, after a delay and in the right order.

You list your images in images.yaml. imagefactory analyzes their Dockerfiles as BuildKit does, asks the registries, records
what it finds in state/ in git, decides which rebuilds are due, and starts them at GitHub, GitLab, Gitea or by a webhook,
directly or through Kargo.`,
		Example: `  imagefactory init                                    # a first images.yaml
  imagefactory analyze --source-dir .. --offline       # Dockerfiles to state/
  imagefactory synth                                   # state/ to dist/
  imagefactory status                                  # what is due, and why`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&paths.config, "config", cmp.Or(env.Getenv("IMAGEFACTORY_CONFIG"), config.DefaultConfigFile), "`path` of images.yaml (env IMAGEFACTORY_CONFIG)")
	flags.StringVar(&paths.state, "state-dir", env.Getenv("IMAGEFACTORY_STATE_DIR"), "`folder` of the state files (default state beside the config; env IMAGEFACTORY_STATE_DIR)")
	flags.StringVar(&paths.out, "out-dir", env.Getenv("IMAGEFACTORY_OUT_DIR"), "`folder` of the generated resources (default dist beside the config; env IMAGEFACTORY_OUT_DIR)")
	flags.StringVar(&env.color, "color", "auto", "`when` to use colour: auto (on a terminal, unless NO_COLOR is set), always or never")
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions(colors, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	flags.BoolVarP(&env.quiet, "quiet", "q", false, "print errors and warnings only, and no progress")
	verbose := flags.Bool("verbose", false, "log requests, decisions and changes of state to stderr (env IMAGEFACTORY_LOG=debug)")
	root.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		paths.setDefaults()
		if !slices.Contains(colors, env.color) {
			return fleet.Usagef("--color %q: want %s", env.color, strings.Join(colors, ", "))
		}
		env.log, err = newLogger(env, *verbose)
		return err
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fleet.Usagef("%s (see `%s --help`)", err, cmd.CommandPath())
	})
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	root.AddCommand(
		newAnalyze(env, paths), newScan(env, paths), newSynth(env, paths), newValidate(env, paths), newBases(env), newDiscover(env, paths), newEnroll(env, paths), newInit(env, paths),
		newStatus(env, paths), newDescribe(env, paths), newPlan(env, paths), newGraph(env, paths), newReport(env, paths), newPin(env, paths), newMetrics(env, paths), newAudit(env, paths), newNotify(env, paths), newPromote(env, paths), newDoctor(env, paths),
		newRelease(env, paths), newHold(env, paths), newPause(env, paths), newResume(env, paths), newReset(env, paths), newPrune(env, paths), newMigrate(env), newSchema(env), newVersion(env), newWorkflow(env, paths), newAppToken(env),
		newCompletion(env),
	)
	root.SetHelpCommand(newHelp())
	for _, g := range groups {
		for _, name := range g.commands {
			if cmd, _, err := root.Find([]string{name}); err == nil {
				cmd.GroupID = g.id
			}
		}
	}
	root.SetHelpCommandGroupID("other")
	root.Flags().Bool("version", false, "print the version") // in the form of cobra: a template of our own would link text/template
	return root
}

// args wraps cobra's checks of arguments: a mistake is a usage error that names the missing or unexpected argument.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			_, operands, _ := strings.Cut(cmd.Use, " ")
			switch {
			case len(args) == 0 && operands != "":
				return fleet.Usagef("%s needs %s, e.g. %s", cmd.Name(), operands, firstExample(cmd))
			case operands == "":
				return fleet.Usagef("%s takes no arguments: %q (see `%s --help`)", cmd.Name(), args[0], cmd.CommandPath())
			}
			for n := range args {
				if n > 0 && check(cmd, args[:n]) == nil {
					return fleet.Usagef("unexpected argument %q: %s takes one %s (see `%s --help`)", args[n], cmd.Name(), strings.Trim(operands, "[]"), cmd.CommandPath())
				}
			}
			return fleet.Usagef("invalid argument %q: %s takes %s (see `%s --help`)", args[0], cmd.Name(), operands, cmd.CommandPath())
		}
		return nil
	}
}

// firstExample returns the first example of a command, without its comment.
func firstExample(cmd *cobra.Command) string {
	line, _, _ := strings.Cut(cmd.Example, "\n")
	line, _, _ = strings.Cut(line, "  #")
	return strings.TrimSpace(line)
}

// checkOutput checks the value of the flag --output.
func checkOutput(value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fleet.Usagef("--output %q: want %s", value, strings.Join(allowed, ", "))
}

// imageNames completes the names of enrolled images.
func imageNames(paths *pathFlags) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		cfg, err := config.LoadFile(paths.config)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return cfg.Names(), cobra.ShellCompDirectiveNoFileComp
	}
}

// baseNames completes the names of base images.
func baseNames(paths *pathFlags) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		paths.setDefaults()
		f, err := fleet.OpenWithoutScans(paths.paths())
		if partial := (*fleet.StateError)(nil); errors.As(err, &partial) {
			f, err = partial.Rest, nil
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return slices.Sorted(maps.Keys(f.State.Bases)), cobra.ShellCompDirectiveNoFileComp
	}
}
