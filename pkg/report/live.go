package report

import (
	"fmt"
	"io"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Live prints what needs attention in the cluster. It claims nothing of what could not be read.
func (s Style) Live(w io.Writer, l *cluster.Live, now time.Time, wide bool) error {
	if len(l.Problems) == 0 {
		if len(l.Unread) > 0 {
			return nil
		}
		_, err := fmt.Fprintf(w, "\nproject %s: nothing needs attention in the cluster\n", sanitize.Terminal(l.Project))
		return err
	}
	if _, err := fmt.Fprintf(w, "\nIn the cluster (project %s):\n\n", sanitize.Terminal(l.Project)); err != nil {
		return err
	}
	format := Time
	if wide {
		format = ExactTime
	}
	s.Wrap = !wide
	rows := make([][]string, len(l.Problems))
	for i, p := range l.Problems {
		rows[i] = []string{p.Object, unlessZero(format, p.Since, now), p.Message + " (" + p.Fix + ")"}
	}
	return s.Table(w, []string{"OBJECT", "SINCE (UTC)", "PROBLEM (FIX)"}, rows)
}
