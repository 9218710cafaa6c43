// Package progress prints a progress bar on terminals and periodic lines elsewhere.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Options configure a [Progress].
type Options struct {
	Terminal bool // draw a bar; otherwise print lines
	Width    int  // of the terminal in columns; 0 if unknown
	Quiet    bool // print nothing
	Now      func() time.Time
	Unit     string // the counted thing in the singular: "image"
}

// Progress reports the progress of one task after another. It is safe for concurrent use; a nil Progress prints nothing.
type Progress struct {
	w io.Writer
	Options

	mu       sync.Mutex
	stop     chan struct{} // ends the redrawing of the bar; nil while no bar is shown
	drawn    time.Time     // when the bar was last drawn
	task     string
	total    int
	done     int
	current  string // name of the item that was begun last
	started  time.Time
	reported time.Time // when the last line was printed
	lines    int
}

// New returns a Progress that prints to w; nil if Quiet is set.
func New(w io.Writer, o Options) *Progress {
	if o.Quiet {
		return nil
	}
	return &Progress{w: w, Options: o}
}

// IsTerminal reports whether w is a terminal that can redraw lines.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// Width returns the number of columns of a terminal; 0 if unknown.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// Start begins a task of total items, such as "analyzing".
func (p *Progress) Start(total int, task string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.task, p.total, p.done, p.current, p.lines = task, total, 0, "", 0
	p.started = p.Now()
	p.reported = p.started
	if p.Terminal {
		p.erase()
		p.stop = make(chan struct{})
		go p.redraw(p.stop)
	}
}

const (
	lineInterval    = 10 * time.Second // a task that takes less prints no line
	minDrawInterval = 100 * time.Millisecond
	redrawInterval  = 500 * time.Millisecond // while no item begins or ends
	barWidth        = 10
)

// redraw draws the bar periodically, so that its rate and remaining time stay current.
func (p *Progress) redraw(stop chan struct{}) {
	ticker := time.NewTicker(redrawInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			if p.stop == stop {
				p.draw()
			}
			p.mu.Unlock()
		}
	}
}

// draw draws the bar, unless it was drawn within minDrawInterval.
func (p *Progress) draw() {
	if p.stop == nil {
		return
	}
	now := p.Now()
	if now.Sub(p.drawn) < minDrawInterval {
		return
	}
	p.drawn = now
	full := barWidth * p.done / max(p.total, 1)
	text := fmt.Sprintf("%s %3d%% |%s%s| (%s) %s", p.task, 100*p.done/max(p.total, 1),
		strings.Repeat("█", full), strings.Repeat(" ", barWidth-full), p.counts(now, "%d/%d"), p.current)
	if runes := []rune(text); p.Width > 0 && len(runes) >= p.Width {
		text = string(runes[:p.Width-1])
	}
	_, _ = fmt.Fprint(p.w, eraseLine+text) // the task goes on when the terminal is gone
}

const eraseLine = "\r\x1b[2K"

// erase removes the bar, if one is shown.
func (p *Progress) erase() {
	if p.stop == nil {
		return
	}
	close(p.stop)
	p.stop = nil
	_, _ = fmt.Fprint(p.w, eraseLine)
}

// Add increases the total.
func (p *Progress) Add(n int) {
	if p == nil || n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += n
	p.draw()
}

// Item begins an item; the returned function marks it as done.
func (p *Progress) Item(name string) (done func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = displayName(name)
	p.draw()
	return p.finishItem
}

func (p *Progress) finishItem() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if p.Terminal {
		p.draw()
		return
	}
	if now := p.Now(); now.Sub(p.reported) >= lineInterval {
		p.reported = now
		p.printLine(now)
	}
}

// printLine prints the progress as one line of a log.
func (p *Progress) printLine(now time.Time) {
	p.lines++
	text := p.task + ": " + p.counts(now, "%d of %d "+p.Unit+"s")
	if p.current != "" && p.done < p.total {
		text += ", at " + p.current
	}
	_, _ = fmt.Fprintln(p.w, text) // the task goes on when the log is gone
}

// counts returns the number of items that are done, the rate, and the estimated remaining time.
func (p *Progress) counts(now time.Time, format string) string {
	text := fmt.Sprintf(format, p.done, p.total)
	seconds := now.Sub(p.started).Seconds()
	if seconds <= 0 || p.done == 0 {
		return text
	}
	rate := float64(p.done) / seconds
	text += fmt.Sprintf(", %.1f/s", rate)
	if left := p.total - p.done; left > 0 {
		text += fmt.Sprintf(", about %s left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

// Finish ends the task: it removes the bar, or prints a last line if it printed others.
func (p *Progress) Finish() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	if p.lines > 0 {
		p.printLine(p.Now())
		p.lines = 0
	}
}

// displayName returns a name without control characters, shortened to 32 characters.
func displayName(name string) string {
	const maxName = 32
	name = sanitize.Terminal(name)
	if runes := []rune(name); len(runes) > maxName {
		return string(runes[:maxName-1]) + "…"
	}
	return name
}
