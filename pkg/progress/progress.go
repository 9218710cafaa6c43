// Package progress shows how far long work is: a bar on a terminal, plain lines in a log. It draws the bar itself, since more
// work turns up when all that was known of is done, which libraries take for the end.
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

// Options say how progress is shown.
type Options struct {
	Terminal bool // a bar that is drawn again and again; else lines
	Width    int  // of the terminal in columns; 0 when it is not known
	Quiet    bool // nothing at all
	Now      func() time.Time
	Every    time.Duration // between two lines; default 10 s. Work that is shorter shows none.
	Unit     string        // what is counted, in the singular: "image"
}

// Progress shows one piece of work after another. It may be used by many goroutines; a nil Progress is silent.
type Progress struct {
	w io.Writer
	Options

	mu      sync.Mutex
	stop    chan struct{} // ends the drawing of a bar; nil while there is none
	drawn   time.Time
	what    string
	total   int
	done    int
	current string
	started time.Time
	said    time.Time // when the last line was written
	lines   int
}

// New shows progress on w. Quiet gives nil.
func New(w io.Writer, o Options) *Progress {
	if o.Quiet {
		return nil
	}
	if o.Every == 0 {
		o.Every = 10 * time.Second
	}
	return &Progress{w: w, Options: o}
}

// IsTerminal reports whether a person looks at what is written, on a terminal that can draw.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// Width is how many columns a terminal has; 0 when that is not known.
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

// Start begins a piece of work of so many items. What says what is done: "analyzing".
func (p *Progress) Start(total int, what string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.total, p.done, p.current, p.lines = what, total, 0, "", 0
	p.started = p.Now()
	p.said = p.started
	if p.Terminal {
		p.erase()
		p.stop = make(chan struct{})
		go p.keepDrawing(p.stop)
	}
}

const (
	drawEvery = 100 * time.Millisecond
	tickEvery = 500 * time.Millisecond // of a bar while nothing gets done
	barWidth  = 10
)

// keepDrawing shows that time passes.
func (p *Progress) keepDrawing(stop chan struct{}) {
	ticker := time.NewTicker(tickEvery)
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

// draw draws the bar, not too often.
func (p *Progress) draw() {
	if p.stop == nil {
		return
	}
	now := p.Now()
	if now.Sub(p.drawn) < drawEvery {
		return
	}
	p.drawn = now
	full := barWidth * p.done / max(p.total, 1)
	text := fmt.Sprintf("%s %3d%% |%s%s| (%s) %s", p.what, 100*p.done/max(p.total, 1),
		strings.Repeat("█", full), strings.Repeat(" ", barWidth-full), p.counts(now, "%d/%d"), p.current)
	if runes := []rune(text); p.Width > 0 && len(runes) >= p.Width {
		text = string(runes[:p.Width-1])
	}
	_, _ = fmt.Fprint(p.w, eraseLine+text) // a terminal that is gone is no reason to stop working
}

const eraseLine = "\r\x1b[2K"

// erase ends the drawing of a bar, if there is one, and takes it away.
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

// Item marks work on an item as begun; the returned function counts it as done.
func (p *Progress) Item(name string) (done func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = plain(name)
	p.draw()
	return p.count
}

func (p *Progress) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if p.Terminal {
		p.draw()
		return
	}
	if now := p.Now(); now.Sub(p.said) >= p.Every {
		p.said = now
		p.line(now)
	}
}

// line writes how far the work is.
func (p *Progress) line(now time.Time) {
	p.lines++
	text := p.what + ": " + p.counts(now, "%d of %d "+p.Unit+"s")
	if p.current != "" && p.done < p.total {
		text += ", at " + p.current
	}
	_, _ = fmt.Fprintln(p.w, text) // a log that is gone is no reason to stop working
}

// counts returns how much is done, the rate, and the expected remaining time.
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

// Finish ends the piece of work: a bar is taken away, and after lines there is a last one.
func (p *Progress) Finish() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	if p.lines > 0 {
		p.line(p.Now())
		p.lines = 0
	}
}

// plain keeps a name from steering the terminal, and short.
func plain(name string) string {
	const longest = 32
	name = sanitize.Terminal(name)
	if runes := []rune(name); len(runes) > longest {
		return string(runes[:longest-1]) + "…"
	}
	return name
}
