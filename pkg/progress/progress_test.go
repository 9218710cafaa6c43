package progress_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/progress"
)

// clock advances by step each time it is read.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	step time.Duration
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

func TestLinesWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	p := progress.New(&out, progress.Options{Now: (&clock{step: time.Second}).read, Unit: "image"})
	p.Start(24, "analyzing")
	p.Add(1)
	for i := range 25 {
		p.Item(fmt.Sprintf("web-%d\x1b[31m", i))()
	}
	p.Finish()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	assert.Equal(t, []string{
		"analyzing: 10 of 25 images, 1.0/s, about 15s left, at web-9\ufffd[31m",
		"analyzing: 20 of 25 images, 1.0/s, about 5s left, at web-19\ufffd[31m",
		"analyzing: 25 of 25 images, 1.0/s",
	}, lines)
}

func TestShortTaskPrintsNothing(t *testing.T) {
	var out bytes.Buffer
	p := progress.New(&out, progress.Options{Now: (&clock{step: time.Millisecond}).read, Unit: "image"})
	p.Start(100, "analyzing")
	for range 100 {
		p.Item("web")()
	}
	p.Finish()
	assert.Empty(t, out.String())
}

func TestQuietPrintsNothing(t *testing.T) {
	var out bytes.Buffer
	for _, p := range []*progress.Progress{nil, progress.New(&out, progress.Options{Quiet: true})} {
		p.Start(1, "analyzing")
		p.Add(1)
		p.Item("web")()
		p.Finish()
	}
	assert.Empty(t, out.String())
}

func TestBarIsRemoved(t *testing.T) {
	var out bytes.Buffer
	p := progress.New(&out, progress.Options{Terminal: true, Now: time.Now, Unit: "image"})
	p.Start(0, "analyzing")
	p.Add(40)
	for i := range 40 { // longer than the time between two drawings
		done := p.Item(fmt.Sprintf("an-image-with-a-name-that-is-far-too-long-for-a-line-%d", i))
		time.Sleep(10 * time.Millisecond)
		done()
	}
	p.Finish()
	assert.Regexp(t, `\([1-9]\d?/40, `, out.String())
	assert.Contains(t, out.String(), "an-image-with-a-name-that-is-fa…")
	assert.Empty(t, strings.TrimSpace(screen(out.String())), "nothing stays on the screen")
}

func TestBarWithGrowingTotal(t *testing.T) {
	var out bytes.Buffer
	p := progress.New(&out, progress.Options{Terminal: true, Width: 70, Now: (&clock{step: time.Second}).read, Unit: "image"})
	p.Start(2, "analyzing")
	p.Item("web")()
	p.Item("api")()
	assert.Contains(t, out.String(), "analyzing 100% |██████████| (2/2, ")
	out.Reset()
	p.Add(2)
	p.Item("node-22-bookworm-slim")()
	assert.Contains(t, out.String(), "analyzing  75% |███████   | (3/4, ")
	assert.Contains(t, out.String(), "left) node-22", "the current item is named")
	for line := range strings.SplitSeq(out.String(), "\r") {
		assert.Less(t, len([]rune(strings.TrimPrefix(line, "\x1b[2K"))), 70, "a line that wraps cannot be erased")
	}
	p.Finish()
	p.Finish()
	assert.Empty(t, strings.TrimSpace(screen(out.String())))
}

// screen returns the last line of a terminal that knows \r and the sequence that erases a line.
func screen(written string) string {
	var line []rune
	at := 0
	for written != "" {
		if rest, ok := strings.CutPrefix(written, "\x1b[2K"); ok {
			line, written = nil, rest
			continue
		}
		r := []rune(written)[0]
		written = strings.TrimPrefix(written, string(r))
		if r == '\r' {
			at = 0
			continue
		}
		for len(line) <= at {
			line = append(line, ' ')
		}
		line[at] = r
		at++
	}
	return string(line)
}

func TestIsTerminal(t *testing.T) {
	assert.False(t, progress.IsTerminal(&bytes.Buffer{}))
}
