package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/report"
)

// maxJobSummary is the size of the summary of a step that GitHub accepts.
const maxJobSummary = 1 << 20

// cutNotice ends a summary of which only the beginning fits.
const cutNotice = "\nThe rest is left out: GitHub accepts job summaries of up to 1 MiB.\n"

// summarize appends a summary to the page of the job, if GitHub Actions runs the command. A failure is a warning.
func (env *Env) summarize(s report.JobSummary) error {
	file := env.Getenv("GITHUB_STEP_SUMMARY")
	if file == "" {
		return nil
	}
	if err := appendSummary(file, s.Markdown()); err != nil {
		return env.errorf("warning: writing the job summary: %s", err)
	}
	return nil
}

func appendSummary(file, text string) (err error) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if text = cutSummary(text, maxJobSummary-info.Size()); text == "" {
		return fmt.Errorf("%s has %d bytes, and GitHub accepts %d", file, info.Size(), maxJobSummary)
	}
	_, err = f.WriteString(text)
	return err
}

// stepOutputs appends outputs of a step, as NAME=VALUE in one line, if GitHub Actions runs the command. A failure is a warning.
func (env *Env) stepOutputs(outputs ...string) error {
	file := env.Getenv("GITHUB_OUTPUT")
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(strings.Join(outputs, "\n") + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return env.errorf("warning: writing the outputs of the step: %s", err)
	}
	return nil
}

// counted returns the outputs NAME, a number, and NAME-names, a JSON list.
func counted(name string, names []string) []string {
	list, _ := json.Marshal(append([]string{}, names...)) // a list of texts, never null
	return []string{fmt.Sprintf("%s=%d", name, len(names)), fmt.Sprintf("%s-names=%s", name, list)}
}

// dueOutputs writes which of the decisions are due.
func (env *Env) dueOutputs(decisions []policy.Decision) error {
	var names []string
	for i := range decisions {
		if decisions[i].Status == policy.Due {
			names = append(names, decisions[i].Image)
		}
	}
	return env.stepOutputs(counted("due", names)...)
}

// cutSummary returns a summary that needs at most so many bytes: the whole text, or its first lines and a notice; "" if not even
// that fits.
func cutSummary(text string, room int64) string {
	if int64(len(text)) <= room {
		return text
	}
	room -= int64(len(cutNotice))
	if room <= 0 {
		return ""
	}
	return text[:strings.LastIndexByte(text[:room], '\n')+1] + cutNotice
}

// annotate prints findings as annotations to stderr, if GitHub Actions runs the command.
func (env *Env) annotate(l finding.List) error {
	if env.Getenv("GITHUB_ACTIONS") != "true" {
		return nil
	}
	return report.GitHubAnnotations(env.Err, l)
}
