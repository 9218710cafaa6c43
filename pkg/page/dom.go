package page

import (
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// minute is the form of a time on the page.
const minute = "2006-01-02 15:04"

// part adds something to an element: an attribute, a text or a child. Package html escapes all of them when it renders the page.
type part func(*html.Node)

// el returns an element.
func el(name string, parts ...part) part {
	return func(parent *html.Node) {
		n := &html.Node{Type: html.ElementNode, DataAtom: atom.Lookup([]byte(name)), Data: name}
		group(parts...)(n)
		parent.AppendChild(n)
	}
}

// group returns several parts as one.
func group(parts ...part) part {
	return func(n *html.Node) {
		for _, p := range parts {
			if p != nil {
				p(n)
			}
		}
	}
}

// text returns text that may come from outside.
func text(s string) part {
	return func(n *html.Node) {
		if s != "" {
			n.AppendChild(&html.Node{Type: html.TextNode, Data: sanitize.Terminal(s)})
		}
	}
}

// raw returns the content of a script or style element. Browsers end it at its end tag, whatever the text around that is, so it
// must come from this package or be encoded.
func raw(s string) part {
	return func(n *html.Node) { n.AppendChild(&html.Node{Type: html.TextNode, Data: s}) }
}

// attr returns an attribute. Its name is never from outside, and it is not one that holds a script, a style or a URL.
func attr(name, value string) part {
	return func(n *html.Node) { n.Attr = append(n.Attr, html.Attribute{Key: name, Val: sanitize.Terminal(value)}) }
}

func class(names string) part { return attr("class", names) }

func num(name string, n int) part { return attr(name, strconv.Itoa(n)) }

// link returns a link to a URL from outside, or its text alone unless the URL is one of a web page.
func link(target string, parts ...part) part {
	if safe := webURL(target); safe != "" {
		return el("a", append([]part{attr("href", safe), attr("rel", "noreferrer")}, parts...)...)
	}
	return group(parts...)
}

// webURL returns a URL from outside if it leads to a web page, or else "".
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.String()
}

// to returns a link to the details of an image or base image.
func to(kind, name string, parts ...part) part {
	return el("a", append([]part{attr("href", "#"+kind+"/"+url.PathEscape(name))}, parts...)...)
}

// at returns a time to the minute, in UTC; nothing for the zero time.
func at(t time.Time) part {
	if t.IsZero() {
		return nil
	}
	return el("time", text(t.UTC().Format(minute)))
}
