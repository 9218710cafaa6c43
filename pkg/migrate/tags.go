package migrate

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// anyTag is the old tool's default pattern.
const anyTag = "^.*$"

var tagForm = lazy.Regexp(`^[\w][\w.-]{0,127}$`)

// tags converts the tag selection of an external image. The old tool did not use that of a managed image.
func (m *migration) tags(e *entry) {
	var given []field
	strategy, constraint, allow := m.tagSelection(e, &given)
	if e.managed {
		for _, f := range given {
			m.drop(e, f, "the old tool did not use it for an image with a source", "set tags if you need it")
		}
		return
	}
	if e.value("tags") != nil {
		for _, f := range given {
			m.drop(e, f, "the entry has tags", "remove one of them")
		}
		return
	}
	if len(given) == 0 {
		if d := m.stateOf(e.old); d != nil && (text(get(d.root, "allowTags")) != "" && text(get(d.root, "allowTags")) != anyTag) {
			strategy, allow = text(get(d.root, "imageSelectionStrategy")), []string{text(get(d.root, "allowTags"))}
			at := field{pair: pair{key: keyNode(d.root, "allowTags")}}
			m.warn(d.file, at.key, fmt.Sprintf("%s: only the state file selects tags; the selection is carried over to tags in images.yaml", e.old), "check it")
		} else {
			m.group("any tag", m.Layout.Config, e.at, "the entry selects no tags: the old tool used the alphabetically last of all tags, analyze decides from the tags in the registry",
				"set tags to select them")
			return
		}
	}
	at := e.at
	if len(given) > 0 {
		at = given[0].key
	}
	tags, why := tagsOf(strategy, constraint, allow)
	if why != "" && tags == nil {
		for _, f := range given {
			m.drop(e, f, why, "set tags; until then analyze decides")
		}
		return
	}
	if why != "" {
		m.warn(m.Layout.Config, at, e.old+": "+why, "check tags of the entry")
	}
	e.set("tags", tags)
	key := e.new.Content[len(e.new.Content)-2]
	for _, f := range given { // several old keys become one
		for _, c := range []string{f.key.HeadComment, f.value.HeadComment, f.value.LineComment} {
			if c != "" {
				key.HeadComment = joinLines(key.HeadComment, c)
			}
		}
	}
}

func joinLines(a, b string) string {
	if a == "" {
		return b
	}
	return a + "\n" + b
}

// tagSelection returns the tag selection of an entry and collects its keys.
func (m *migration) tagSelection(e *entry, given *[]field) (strategy, constraint string, allow []string) {
	take := func(key string, value *yaml.Node) {
		switch key {
		case "imageSelectionStrategy":
			strategy = text(value)
		case "semverConstraint":
			constraint = text(value)
		case "allowTags":
			if t := text(value); t != "" {
				allow = append(allow, t)
			}
			if list := resolve(value); list.Kind == yaml.SequenceNode {
				for _, item := range list.Content {
					allow = append(allow, text(item))
				}
			}
		}
	}
	for _, f := range e.fields {
		if isNull(f.value) {
			continue
		}
		switch f.key.Value {
		case "allowTags", "imageSelectionStrategy", "semverConstraint":
			take(f.key.Value, f.value)
			*given = append(*given, f)
		case "updates":
			if nothing := m.updates(e, f, take); !nothing {
				*given = append(*given, f)
			}
		}
	}
	return strategy, constraint, allow
}

// updates reads the same keys below updates, and drops all others.
func (m *migration) updates(e *entry, f field, take func(string, *yaml.Node)) (nothing bool) {
	nothing = true
	var unknown []pair
	for _, p := range pairs(f.value) {
		switch p.key.Value {
		case "allowTags", "imageSelectionStrategy", "semverConstraint":
			if e.value(p.key.Value) == nil && !isNull(p.value) {
				take(p.key.Value, p.value)
				nothing = false
			}
		default:
			unknown = append(unknown, p)
		}
	}
	if v := resolve(f.value); v.Kind != yaml.MappingNode || len(unknown) > 0 {
		if v.Kind == yaml.MappingNode {
			v = mapping(unknown...)
		}
		m.drop(e, field{pair{f.key, v}, f.nested}, "it does not select tags", "set tags if you need it")
	}
	return nothing
}

// tagsOf converts the tag selection of an old entry; why describes what changed or, if tags is nil, what is wrong.
func tagsOf(strategy, constraint string, allow []string) (tags *yaml.Node, why string) {
	for _, a := range allow {
		if _, err := regexp.Compile(a); err != nil {
			return nil, fmt.Sprintf("invalid regular expression %q in allowTags: %v", a, err)
		}
	}
	if strategy == "" && constraint != "" {
		strategy = "SemVer"
	}
	one := ""
	if len(allow) == 1 {
		one = onlyTag(allow[0])
	}
	switch {
	case strategy == "Digest" && tagForm().MatchString(constraint):
		return digestOf(constraint), ""
	case one != "":
		return digestOf(one), ""
	}
	switch strategy {
	case "SemVer":
		if constraint != "" {
			if _, err := semver.NewConstraint(constraint); err != nil {
				return nil, fmt.Sprintf("semverConstraint %q: %v", constraint, err)
			}
		}
	case "NewestBuild", "Lexical", "":
		if constraint != "" {
			why = fmt.Sprintf("semverConstraint %q is left out: the strategy %s ignores it", constraint, strategy)
		}
		if strategy == "" {
			strategy = "Lexical"
		}
		constraint = ""
	default:
		why = fmt.Sprintf("the old tool treated the strategy %q as Lexical, and so does the new entry", strategy)
		strategy, constraint = "Lexical", ""
	}
	tags = mapping(pair{plain("strategy"), plain(strategy)})
	if constraint != "" {
		tags.Content = append(tags.Content, plain("constraint"), plain(constraint))
	}
	if len(allow) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, a := range allow {
			list.Content = append(list.Content, plain(a))
		}
		tags.Content = append(tags.Content, plain("allow"), list)
	}
	return tags, why
}

func digestOf(tag string) *yaml.Node {
	n := plain(tag)
	n.Style = yaml.DoubleQuotedStyle
	return n
}

// onlyTag returns the tag that a regular expression of the form ^tag$ selects, or "". A dot as in ^3.22$ counts as literal,
// because people rarely escape it.
func onlyTag(re string) string {
	if tag := strings.TrimSuffix(strings.TrimPrefix(re, "^"), "$"); len(tag) == len(re)-2 && tagForm().MatchString(tag) {
		return tag
	}
	parsed, err := syntax.Parse(re, syntax.Perl)
	if err != nil {
		return ""
	}
	p := parsed.Simplify()
	if p.Op != syntax.OpConcat || len(p.Sub) != 3 || p.Sub[0].Op != syntax.OpBeginText || p.Sub[1].Op != syntax.OpLiteral ||
		p.Sub[2].Op != syntax.OpEndText || p.Sub[1].Flags&syntax.FoldCase != 0 {
		return ""
	}
	if tag := string(p.Sub[1].Rune); tagForm().MatchString(tag) {
		return tag
	}
	return ""
}

// keyNode returns the node of a key, for its position.
func keyNode(n *yaml.Node, key string) *yaml.Node {
	for _, p := range pairs(n) {
		if p.key.Value == key {
			return p.key
		}
	}
	return n
}
