package state

import "strings"

// plainName returns the readable name of a base image: its repository and tag. It returns "" for a reference that has none:
// one that is too long, or whose name looks like one with a hash.
func plainName(r Ref) string {
	name := slug(strings.TrimPrefix(r.Repository, "library/") + "-" + r.Tag)
	if name == "" || len(name) > maxBaseName || hashSuffix().MatchString(name) {
		return ""
	}
	return name
}

// Recorded returns the state of a base image, given by its reference without digest, or nil. A file keeps its name.
func (s *State) Recorded(r Ref) *Base {
	for _, name := range []string{BaseName(r), plainName(r)} {
		if b := s.Bases[name]; b != nil && b.Registry == r.Registry && b.Repository == r.Repository && b.Tag == r.Tag {
			return b
		}
	}
	return nil
}

// BaseNames returns the name of each base image in use. One that is recorded keeps its name. Another gets its repository and
// tag as its name; with a hash of the reference where that is taken or where two new ones compete for it. So names depend on
// the state and on the set of references, never on their order.
func (s *State) BaseNames(refs []Ref) map[Ref]string {
	names := make(map[Ref]string, len(refs))
	claims := map[string]int{}
	for _, r := range refs {
		if _, seen := names[r]; seen {
			continue
		}
		names[r] = ""
		if b := s.Recorded(r); b != nil {
			names[r] = b.Name
		} else {
			claims[plainName(r)]++
		}
	}
	taken := make(map[string]bool, len(names))
	for _, name := range names {
		taken[name] = true
	}
	for r, name := range names {
		if name != "" {
			continue
		}
		plain := plainName(r)
		official := BaseName(r) == plain // of two that compete, Docker's official image has the plain name
		if plain == "" || taken[plain] || s.Bases[plain] != nil || claims[plain] > 1 && !official {
			plain = hashedName(r)
		}
		names[r] = plain
	}
	return names
}
