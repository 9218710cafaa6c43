package draw

import (
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

const (
	pngScale   = 2.0  // pixels of the image for one of the drawing, so that text is sharp on any screen
	maxPixels  = 40e6 // of an image; a larger one is drawn at a smaller scale
	boldOffset = 0.5
	minScale   = 0.9 // at which text can still be read
)

// PNG draws the model as a PNG image.
func (m *Model) PNG(w io.Writer, o Options) error {
	l := m.Layout(o.Cluster)
	s := m.scene(&l, o.Title)
	scale := min(pngScale, math.Sqrt(maxPixels/(s.w*s.h)))
	if scale < minScale {
		return fmt.Errorf("drawing a PNG image: %d nodes are too many to be read (use -o svg, --collapse auto, or the NAME of an image)", len(m.Nodes))
	}
	c, err := newCanvas(s.w, s.h, scale, o.Theme)
	if err != nil {
		return err
	}
	c.paint(&s)
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(w, c.img); err != nil {
		return fmt.Errorf("drawing a PNG image: %w", err)
	}
	return nil
}

// canvas is an image that shapes are painted on.
type canvas struct {
	img   *image.RGBA
	scale float64
	theme Theme
	font  *opentype.Font
	faces map[float64]font.Face // by size
}

func newCanvas(w, h, scale float64, theme Theme) (*canvas, error) {
	f, err := opentype.Parse(gomono.TTF)
	if err != nil {
		return nil, fmt.Errorf("reading the font of PNG images: %w", err)
	}
	c := &canvas{scale: scale, theme: theme, font: f, faces: map[float64]font.Face{}}
	c.img = image.NewRGBA(image.Rect(0, 0, int(math.Ceil(w*scale)), int(math.Ceil(h*scale))))
	draw.Draw(c.img, c.img.Bounds(), image.NewUniform(theme.colorOf(background)), image.Point{}, draw.Src)
	return c, nil
}

// paint paints a scene. Lines of one colour that follow each other are painted at once, which takes one pass over the image.
func (c *canvas) paint(s *scene) {
	var outlines outline
	last := none
	flush := func() {
		c.fill(&outlines, last)
		outlines = outline{}
	}
	for i := range s.groups {
		for k := range s.groups[i].shapes {
			sh := &s.groups[i].shapes[k]
			if sh.path == nil || sh.text != "" {
				flush()
				c.paintShape(sh)
				continue
			}
			r := sh.stroke
			if sh.closed {
				r = sh.fill
			}
			if r != last {
				flush()
				last = r
			}
			if sh.closed {
				outlines.polygon(c.scaled(sh.path))
			} else {
				outlines.stroke(dashed(flatten(c.scaled(sh.path)), sh.dash, c.scale), sh.width*c.scale)
			}
		}
	}
	flush()
}

func (c *canvas) scaled(path []Point) []Point {
	out := make([]Point, len(path))
	for i, p := range path {
		out[i] = Point{p.X * c.scale, p.Y * c.scale}
	}
	return out
}

func (c *canvas) paintShape(s *shape) {
	if s.text != "" {
		c.text(s)
		return
	}
	b := Box{s.box.X * c.scale, s.box.Y * c.scale, s.box.W * c.scale, s.box.H * c.scale}
	radius := min(s.radius*c.scale, b.W/2, b.H/2)
	edge := rounded(b, radius)
	if s.fill != none {
		var o outline
		o.polygon(edge)
		c.fill(&o, s.fill)
	}
	if s.stroke != none {
		var o outline
		o.stroke(dashed(append(edge, edge[0]), s.dash, c.scale), max(s.width*c.scale, 1))
		c.fill(&o, s.stroke)
	}
}

// text writes a text. What the font has no glyph for is shown as its replacement. Bold text is written twice, a little apart, which
// saves a second font.
func (c *canvas) text(s *shape) {
	face := c.faces[s.size]
	if face == nil {
		var err error
		face, err = opentype.NewFace(c.font, &opentype.FaceOptions{Size: s.size * c.scale, DPI: 72, Hinting: font.HintingNone})
		if err != nil {
			return // a size is no error
		}
		c.faces[s.size] = face
	}
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(c.theme.colorOf(s.fill)), Face: face}
	offsets := []float64{0}
	if s.bold {
		offsets = []float64{0, boldOffset}
	}
	for _, dx := range offsets {
		d.Dot = fixed.Point26_6{X: fixed.Int26_6((s.at.X + dx) * c.scale * 64), Y: fixed.Int26_6(s.at.Y * c.scale * 64)}
		d.DrawString(s.text)
	}
}

// outline is polygons that are filled together. All of them turn the same way, so that none cancels another one out.
type outline struct {
	polygons [][]Point
}

func (o *outline) polygon(p []Point) {
	if area(p) < 0 {
		p = append([]Point(nil), p...)
		for i, k := 0, len(p)-1; i < k; i, k = i+1, k-1 {
			p[i], p[k] = p[k], p[i]
		}
	}
	o.polygons = append(o.polygons, p)
}

func area(p []Point) float64 {
	sum := 0.0
	for i, a := range p {
		b := p[(i+1)%len(p)]
		sum += a.X*b.Y - b.X*a.Y
	}
	return sum
}

// stroke adds lines of a width.
func (o *outline) stroke(lines [][]Point, width float64) {
	for _, line := range lines {
		for i := range len(line) - 1 {
			a, b := line[i], line[i+1]
			length := math.Hypot(b.X-a.X, b.Y-a.Y)
			if length == 0 {
				continue
			}
			nx, ny := -(b.Y-a.Y)/length*width/2, (b.X-a.X)/length*width/2
			o.polygon([]Point{{a.X + nx, a.Y + ny}, {a.X - nx, a.Y - ny}, {b.X - nx, b.Y - ny}, {b.X + nx, b.Y + ny}})
		}
	}
}

// fill paints an outline with a colour.
func (c *canvas) fill(o *outline, r role) {
	if len(o.polygons) == 0 || r == none {
		return
	}
	low, high := Point{math.Inf(1), math.Inf(1)}, Point{}
	for _, p := range o.polygons {
		for _, q := range p {
			low.X, low.Y = min(low.X, q.X), min(low.Y, q.Y)
			high.X, high.Y = max(high.X, q.X), max(high.Y, q.Y)
		}
	}
	area := image.Rect(int(low.X)-1, int(low.Y)-1, int(high.X)+2, int(high.Y)+2).Intersect(c.img.Bounds())
	if area.Empty() {
		return
	}
	z := vector.NewRasterizer(area.Dx(), area.Dy())
	for _, p := range o.polygons {
		for i, q := range p {
			x, y := float32(q.X)-float32(area.Min.X), float32(q.Y)-float32(area.Min.Y)
			if i == 0 {
				z.MoveTo(x, y)
			} else {
				z.LineTo(x, y)
			}
		}
		z.ClosePath()
	}
	z.Draw(c.img, area, image.NewUniform(c.theme.colorOf(r)), image.Point{})
}

// rounded returns a rectangle with round corners.
func rounded(b Box, radius float64) []Point {
	if radius == 0 {
		return []Point{{b.X, b.Y}, {b.X + b.W, b.Y}, {b.X + b.W, b.Y + b.H}, {b.X, b.Y + b.H}}
	}
	const steps = 8
	var out []Point
	for corner, center := range []Point{
		{b.X + b.W - radius, b.Y + b.H - radius}, {b.X + radius, b.Y + b.H - radius}, {b.X + radius, b.Y + radius}, {b.X + b.W - radius, b.Y + radius},
	} {
		for i := range steps + 1 {
			angle := (float64(corner) + float64(i)/steps) * math.Pi / 2
			out = append(out, Point{center.X + radius*math.Cos(angle), center.Y + radius*math.Sin(angle)})
		}
	}
	return out
}

// flatten returns a chain of Bézier curves as short lines.
func flatten(p []Point) []Point {
	out := []Point{p[0]}
	for i := 0; i+3 < len(p); i += 3 {
		a, b, c, d := p[i], p[i+1], p[i+2], p[i+3]
		steps := 1
		if b.Y != a.Y || d.Y != a.Y {
			steps = int(min(max(math.Hypot(d.X-a.X, d.Y-a.Y)/8, 8), 64))
		}
		for k := 1; k <= steps; k++ {
			t := float64(k) / float64(steps)
			u := 1 - t
			out = append(out, Point{
				u*u*u*a.X + 3*u*u*t*b.X + 3*u*t*t*c.X + t*t*t*d.X,
				u*u*u*a.Y + 3*u*u*t*b.Y + 3*u*t*t*c.Y + t*t*t*d.Y,
			})
		}
	}
	return out
}

// dashed cuts a line into dashes.
func dashed(line []Point, dash []float64, scale float64) [][]Point {
	if len(dash) == 0 {
		return [][]Point{line}
	}
	var out [][]Point
	part, left, on := 0, dash[0]*scale, true
	piece := []Point{line[0]}
	for i := range len(line) - 1 {
		a, b := line[i], line[i+1]
		length := math.Hypot(b.X-a.X, b.Y-a.Y)
		for at := 0.0; at < length; {
			step := min(left, length-at)
			at, left = at+step, left-step
			q := Point{a.X + (b.X-a.X)*at/length, a.Y + (b.Y-a.Y)*at/length}
			piece = append(piece, q)
			if left > 0 {
				continue
			}
			if on {
				out = append(out, piece)
			}
			part = (part + 1) % len(dash)
			left, on, piece = dash[part]*scale, !on, []Point{q}
		}
	}
	if on {
		out = append(out, piece)
	}
	return out
}
