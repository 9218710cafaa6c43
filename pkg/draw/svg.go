package draw

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Options say how a drawing looks.
type Options struct {
	Title   string
	Cluster Cluster
	Theme   Theme
}

// SVG draws the model as an SVG image, whose text can be selected and whose colours follow the reader's preference.
func (m *Model) SVG(w io.Writer, o Options) error {
	l := m.Layout(o.Cluster)
	s := m.scene(&l, o.Title)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]s" height="%[2]s" viewBox="0 0 %[1]s %[2]s" role="img" aria-labelledby="graph-title graph-desc">
<title id="graph-title">%[3]s</title>
<desc id="graph-desc">%[4]s</desc>
<style>
`, number(s.w), number(s.h), xmlText(s.title), xmlText(s.desc))
	writeStyle(&b, o.Theme)
	b.WriteString("</style>\n<rect width=\"100%\" height=\"100%\" class=\"f-bg\"/>\n")
	for i := range s.groups {
		writeGroup(&b, &s.groups[i])
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// writeStyle writes the colours of the roles as classes.
func writeStyle(b *strings.Builder, t Theme) {
	b.WriteString("text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",\"Liberation Mono\",monospace;white-space:pre}\n.b{font-weight:600}\npath,rect{stroke-linejoin:round}\npath{fill:none}\n")
	write := func(t Theme) {
		for _, r := range roles {
			fmt.Fprintf(b, ".f-%[1]s{fill:%[2]s}.s-%[1]s{stroke:%[2]s}\n", r.role, t.hex(r.role))
		}
	}
	if t == Dark {
		write(Dark)
		return
	}
	write(Light)
	if t != Light {
		b.WriteString("@media (prefers-color-scheme:dark){\n")
		write(Dark)
		b.WriteString("}\n")
	}
}

func writeGroup(b *strings.Builder, g *group) {
	if g.title != "" {
		b.WriteString("<g><title>" + xmlText(g.title) + "</title>\n")
	}
	for i := range g.shapes {
		writeShape(b, &g.shapes[i])
	}
	if g.title != "" {
		b.WriteString("</g>\n")
	}
}

func writeShape(b *strings.Builder, s *shape) {
	switch {
	case s.text != "":
		fmt.Fprintf(b, `<text x="%s" y="%s" font-size="%s"`, number(s.at.X), number(s.at.Y), number(s.size))
	case s.path != nil:
		fmt.Fprintf(b, `<path d="%s"`, pathData(s.path, s.closed))
	default:
		fmt.Fprintf(b, `<rect x="%s" y="%s" width="%s" height="%s"`, number(s.box.X), number(s.box.Y), number(s.box.W), number(s.box.H))
		if s.radius > 0 {
			fmt.Fprintf(b, ` rx="%s"`, number(s.radius))
		}
	}
	var classes []string
	if s.fill != none {
		classes = append(classes, "f-"+string(s.fill))
	}
	if s.stroke != none {
		classes = append(classes, "s-"+string(s.stroke))
	}
	if s.bold {
		classes = append(classes, "b")
	}
	fmt.Fprintf(b, ` class="%s"`, strings.Join(classes, " "))
	if s.stroke != none && s.width != 1 {
		fmt.Fprintf(b, ` stroke-width="%s"`, number(s.width))
	}
	if len(s.dash) > 0 {
		parts := make([]string, len(s.dash))
		for i, d := range s.dash {
			parts[i] = number(d)
		}
		fmt.Fprintf(b, ` stroke-dasharray="%s"`, strings.Join(parts, " "))
	}
	if s.text != "" {
		b.WriteString(">" + xmlText(s.text) + "</text>\n")
		return
	}
	b.WriteString("/>\n")
}

// pathData returns a chain of Bézier curves, or a closed polygon, as SVG writes it.
func pathData(p []Point, closed bool) string {
	var b strings.Builder
	for i, q := range p {
		switch {
		case i == 0:
			b.WriteString("M")
		case closed:
			b.WriteString("L")
		case i%3 == 1:
			b.WriteString("C")
		default:
			b.WriteString(" ")
		}
		b.WriteString(number(q.X) + " " + number(q.Y))
	}
	if closed {
		b.WriteString("Z")
	}
	return b.String()
}

// number writes a coordinate with one decimal at most.
func number(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// xmlText escapes text for XML, and replaces what XML cannot contain.
func xmlText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '"':
			b.WriteString("&#34;")
		case r == '\'':
			b.WriteString("&#39;")
		case r == '\n':
			b.WriteString("&#10;")
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == 0xfffe, r == 0xffff:
			b.WriteRune(unicode.ReplacementChar)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
