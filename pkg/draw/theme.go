package draw

import (
	"fmt"
	"image/color"
	"strings"
)

// Theme selects the colours of a drawing.
type Theme string

// Themes. An SVG with the theme Auto follows the reader's preference; a PNG is then light.
const (
	Auto  Theme = "auto"
	Light Theme = "light"
	Dark  Theme = "dark"
)

// Themes lists the values of [Theme].
func Themes() []Theme { return []Theme{Auto, Light, Dark} }

// role is what a colour is for.
type role string

const (
	none       role = ""
	background role = "bg"
	ink        role = "ink"
	faint      role = "faint"
	nodeFill   role = "node"
	nodeLine   role = "line"
	baseFill   role = "base"
	frameFill  role = "frame"
	edgeLine   role = "edge"
	thinLine   role = "thin"
	pinLine    role = "pin"
	badLine    role = "bad"
	current    role = "current"
	due        role = "due"
	running    role = "running"
	waiting    role = "waiting"
	held       role = "held"
	failed     role = "failed"
	blocked    role = "blocked"
	unknown    role = "unknown"
)

// roles lists the roles in a fixed order, with the light and the dark colour of each.
var roles = []struct {
	role        role
	light, dark uint32
}{
	{background, 0xffffff, 0x0d1117},
	{ink, 0x1f2328, 0xe6edf3},
	{faint, 0x59636e, 0x9198a1},
	{nodeFill, 0xffffff, 0x161b22},
	{nodeLine, 0xafb8c1, 0x3d444d},
	{baseFill, 0xeaeef2, 0x262c36},
	{frameFill, 0xf6f8fa, 0x13181f},
	{edgeLine, 0x8c959f, 0x6e7681},
	{thinLine, 0xc4ccd4, 0x454c56},
	{pinLine, 0x8250df, 0xab7df8},
	{badLine, 0xcf222e, 0xf85149},
	{current, 0x1a7f37, 0x3fb950},
	{due, 0x0969da, 0x4493f8},
	{running, 0x1b7c83, 0x39c5cf},
	{waiting, 0xbf8700, 0xd29922},
	{held, 0xbc4c00, 0xdb6d28},
	{failed, 0xcf222e, 0xf85149},
	{blocked, 0xbf3989, 0xdb61a2},
	{unknown, 0x818b98, 0x656c76},
}

// statusRole returns the colour of a status.
func statusRole(status string) role {
	switch status {
	case "current":
		return current
	case "due":
		return due
	case "starting", "running":
		return running
	case "waiting":
		return waiting
	case "held", "paused", "incomplete", "untrusted":
		return held
	case "failed":
		return failed
	case "blocked":
		return blocked
	default:
		return unknown
	}
}

// colorOf returns the colour of a role.
func (t Theme) colorOf(r role) color.RGBA {
	for _, c := range roles {
		if c.role == r {
			rgb := c.light
			if t == Dark {
				rgb = c.dark
			}
			return color.RGBA{uint8(rgb >> 16), uint8(rgb >> 8), uint8(rgb), 0xff}
		}
	}
	return color.RGBA{}
}

// hex returns the colour of a role as #rrggbb.
func (t Theme) hex(r role) string {
	c := t.colorOf(r)
	return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)
}

// Variables returns the colours of a theme as CSS variables, such as --ink and --due.
func Variables(t Theme) string {
	var b strings.Builder
	for _, r := range roles {
		fmt.Fprintf(&b, " --%s: %s;", r.role, t.hex(r.role))
	}
	b.WriteByte(' ')
	return b.String()
}
