package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/finding"
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
