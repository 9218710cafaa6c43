package draw

import (
	"fmt"
	"strings"

	"golang.org/x/text/width"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Measures of a drawing, in pixels. Every font is monospaced, so that a text is as wide in every viewer.
const (
	fontSize    = 12.0
	smallSize   = 10.0
	tinySize    = 9.0
	charWidth   = 0.602 // of the font size
	padding     = 10.0
	statusWidth = 6.0  // of the bar at the left of a node
	lineHeight  = 15.0 // of the first line of a node
	maxLabel    = 36   // characters of a line
	compactFrom = 150  // nodes from which each has one line only
)

// cells returns how many columns of a monospaced font a text takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// textWidth returns the width of a text in pixels.
func textWidth(s string, size float64) float64 { return float64(cells(s)) * size * charWidth }

// shorten cuts the middle out of a text that is longer than most characters.
func shorten(s string, most int) string {
	s = sanitize.Terminal(s)
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	half := (most - 1) / 2
	return string(r[:half]) + "…" + string(r[len(r)-(most-1-half):])
}

// shortenRef shortens a reference to its host and the end of its path.
func shortenRef(ref string) string {
	if first, last := strings.IndexByte(ref, '/'), strings.LastIndexByte(ref, '/'); cells(ref) > maxLabel && first < last {
		if short := ref[:first] + "/…" + ref[last:]; cells(short) < cells(ref) {
			ref = short
		}
	}
	return shorten(ref, maxLabel)
}

// lines returns the text of a node: its name, and in small letters what is known of it.
func (n *Node) lines(compact bool) (name, detail string) {
	name = shortenRef(n.ShortLabel())
	if compact && n.Kind != Collapsed {
		if n.Status != "" && n.Status != "current" {
			return name, statusWord(n.Status)
		}
		return name, ""
	}
	var parts []string
	switch n.Kind {
	case Collapsed:
		for _, c := range n.Statuses {
			parts = append(parts, fmt.Sprintf("%d %s", c.Images, statusWord(c.Status)))
		}
		return name, shorten(strings.Join(parts, ", "), maxLabel*6/5)
	case Unresolved:
		return name, "unresolved"
	}
	if n.Status != "" {
		parts = append(parts, statusWord(n.Status))
	}
	if n.Version != "" {
		parts = append(parts, shorten(n.Version, 16))
	}
	digest := n.Digest
	if _, pinned, ok := strings.Cut(n.Label, "@"); ok {
		digest, parts = pinned, append(parts, "pinned")
	}
	if digest != "" {
		parts = append(parts, ShortDigest(digest))
	}
	return name, shorten(strings.Join(parts, " · "), maxLabel*6/5)
}

// size returns the width and height of a node.
func (n *Node) size(compact bool) (w, h float64) {
	name, detail := n.lines(compact)
	nameWidth, detailWidth := textWidth(name, fontSize), textWidth(detail, smallSize)
	if compact && n.Kind != Collapsed {
		if detail != "" {
			nameWidth += detailWidth + padding
		}
		return nameWidth + 2*padding + statusWidth, lineHeight + 7
	}
	w, h = max(nameWidth, detailWidth)+2*padding+statusWidth, lineHeight+9
	if detail != "" {
		h += 12
	}
	if n.Kind == Collapsed {
		h += 6
	}
	return w, h
}

func statusWord(status string) string {
	if status == "optedOut" {
		return "opted out"
	}
	return sanitize.Line(status)
}
