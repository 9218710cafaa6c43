package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// clearScreen moves the cursor of a terminal to its upper left corner and erases the screen.
const clearScreen = "\x1b[H\x1b[2J"

// watch shows the status again and again until ctx is done: on a terminal by drawing it anew, otherwise by a line for each
// change. A fleet that cannot be read is a warning, because a `git pull` may be under way.
func (o *statusOptions) watch(ctx context.Context, env *Env, look func() ([]policy.Decision, *cluster.Live, error)) error {
	sleep := env.Sleep
	if sleep == nil {
		sleep = httpx.Sleep
	}
	if env.Watching != nil {
		env.Watching()
	}
	terminal := progress.IsTerminal(env.Out)
	var last map[string]string
	var lastErr string
	for {
		decisions, live, err := look()
		switch {
		case err != nil && last == nil:
			return err // the command line may be wrong
		case err != nil:
			if lastErr != err.Error() {
				lastErr = err.Error()
				err = env.errorf("warning: %s", lastErr)
			} else {
				err = nil
			}
		case terminal || last == nil:
			lastErr = ""
			if terminal {
				_, err = fmt.Fprintf(env.Out, "%severy %s: %s\n\n", clearScreen, o.interval, env.Now().UTC().Format(time.DateTime))
			}
			if err == nil {
				err = o.printStatus(env, decisions, live)
			}
			if err == nil {
				err = warnUnread(env, live)
			}
			last = watched(decisions, live)
		default:
			lastErr = ""
			now := watched(decisions, live)
			err = printChanges(env.Out, env.Now(), last, now)
			last = now
		}
		if err != nil {
			return err
		}
		if sleep(ctx, o.interval.Std()) != nil {
			return errReported // main turns an interrupt into exit code 130
		}
	}
}

// watched returns a line for each image, and for each problem in the cluster, by what it is about.
func watched(decisions []policy.Decision, live *cluster.Live) map[string]string {
	out := map[string]string{}
	for i := range decisions {
		d := &decisions[i]
		out[d.Image] = report.StatusWord(d.Status) + ": " + report.Reason(d)
		if d.Status == policy.Waiting { // its reason counts the days
			out[d.Image] = string(d.Status) + " until " + d.Until.UTC().Format(time.RFC3339)
		}
	}
	if live == nil {
		return out
	}
	for _, p := range live.Problems {
		out[p.Object+" "+p.Message] = p.Message + " (" + p.Fix + ")"
	}
	for _, u := range live.Unread {
		out[u.Resource] = "warning: " + u.Error
	}
	return out
}

// printChanges prints a line for what is new, other, or gone.
func printChanges(w io.Writer, now time.Time, before, after map[string]string) error {
	var lines []string
	for key, text := range after {
		if before[key] != text {
			name, _, _ := strings.Cut(key, " ")
			lines = append(lines, name+": "+text)
		}
	}
	for key := range before {
		if _, there := after[key]; !there {
			lines = append(lines, key+": no longer")
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "%s %s\n", now.UTC().Format(time.RFC3339), sanitize.Terminal(line)); err != nil {
			return err
		}
	}
	return nil
}
