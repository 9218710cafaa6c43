// Package progress shows how far long work is: a bar on a terminal, plain lines in a log.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Options say how progress is shown.
type Options struct {
	Terminal bool // a bar that is drawn again and again; else lines
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
	bar     *progressbar.ProgressBar
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

// IsTerminal says whether a person looks at what is written, on a terminal that can draw.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
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
		p.bar = progressbar.NewOptions(max(total, 1), // it refuses to count to 0
			progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(p.Unit),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionUseANSICodes(true),
		)
	}
}

// Add says that there is more to do than was thought.
func (p *Progress) Add(n int) {
	if p == nil || n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += n
	if p.bar != nil {
		p.bar.ChangeMax(p.total)
	}
}

// Item says that work on an item has begun. done counts it.
func (p *Progress) Item(name string) (done func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = plain(name)
	return p.count
}

func (p *Progress) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if p.bar != nil {
		p.bar.Describe(p.what + " " + p.current)
		_ = p.bar.Add(1) // a terminal that is gone is no reason to stop working
		return
	}
	if now := p.Now(); !p.Terminal && now.Sub(p.said) >= p.Every {
		p.said = now
		p.line(now)
	}
}

// line writes how far the work is.
func (p *Progress) line(now time.Time) {
	p.lines++
	spent := now.Sub(p.started)
	text := fmt.Sprintf("%s: %d of %d %ss", p.what, p.done, p.total, p.Unit)
	if seconds := spent.Seconds(); seconds > 0 && p.done > 0 {
		rate := float64(p.done) / seconds
		text += fmt.Sprintf(", %.1f/s", rate)
		if left := p.total - p.done; left > 0 {
			text += fmt.Sprintf(", about %s left", time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	if p.current != "" && p.done < p.total {
		text += ", at " + p.current
	}
	_, _ = fmt.Fprintln(p.w, text) // a log that is gone is no reason to stop working
}

// Finish ends the piece of work: a bar is taken away, and after lines there is a last one.
func (p *Progress) Finish() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
		return
	}
	if p.lines > 0 {
		p.line(p.Now())
	}
}

// plain keeps a name from steering the terminal, and short.
func plain(name string) string {
	const longest = 32
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > longest {
		return string(runes[:longest-1]) + "…"
	}
	return name
}
