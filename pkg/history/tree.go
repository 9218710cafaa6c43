package history

import (
	"bytes"
	"iter"

	"github.com/go-git/go-git/v5/plumbing"
)

// tree is the content of a tree object: entries in the order of their names. It is read as it is, because go-git makes an object of
// each of thousands of entries.
type tree []byte

// entry is an entry of a tree.
type entry struct {
	mode, name []byte
	hash       plumbing.Hash
	size       int // in the tree
}

// first returns the first entry of a tree; false at the end of it, and where it is damaged.
func (t tree) first() (entry, bool) {
	space := bytes.IndexByte(t, ' ')
	if space < 0 {
		return entry{}, false
	}
	name := space + 1
	end := bytes.IndexByte(t[name:], 0)
	if end < 0 {
		return entry{}, false
	}
	end += name
	size := end + 1 + len(plumbing.ZeroHash)
	if size > len(t) {
		return entry{}, false
	}
	return entry{t[:space], t[name:end], plumbing.Hash(t[end+1 : size]), size}, true
}

// valid reports whether a tree can be read to its end.
func (t tree) valid() bool {
	for len(t) > 0 {
		e, ok := t.first()
		if !ok || len(e.mode) == 0 || len(bytes.Trim(e.mode, "01234567")) > 0 {
			return false
		}
		t = t[e.size:]
	}
	return true
}

// folder returns the hash of a folder in a tree; the zero hash if it has none of that name.
func (t tree) folder(name string) plumbing.Hash {
	for len(t) > 0 {
		e, ok := t.first()
		if !ok {
			break
		}
		if string(e.name) == name && (string(e.mode) == "40000" || string(e.mode) == "040000") {
			return e.hash
		}
		t = t[e.size:]
	}
	return plumbing.ZeroHash
}

// isFile reports whether an entry is a file, not a folder, link or submodule.
func (e *entry) isFile() bool {
	switch string(e.mode) {
	case "100644", "100664", "100755":
		return true
	}
	return false
}

// changed returns the files that differ from those of another tree, by name: git keeps the files of a tree in this order.
func (t tree) changed(before tree) iter.Seq2[string, plumbing.Hash] {
	return func(yield func(string, plumbing.Hash) bool) {
		for len(t) > 0 {
			e, ok := t.first()
			if !ok {
				return
			}
			if bytes.HasPrefix(before, t[:e.size]) { // so it is nearly always
				t, before = t[e.size:], before[e.size:]
				continue
			}
			if t = t[e.size:]; !e.isFile() {
				continue
			}
			var old plumbing.Hash
			if old, before = before.seek(e.name); old != e.hash && !yield(string(e.name), e.hash) {
				return
			}
		}
	}
}

// seek returns the hash of the file with a name, and the rest of the tree after all smaller names.
func (t tree) seek(name []byte) (plumbing.Hash, tree) {
	for len(t) > 0 {
		e, ok := t.first()
		if !ok {
			break
		}
		order := bytes.Compare(e.name, name)
		if order > 0 {
			break
		}
		t = t[e.size:]
		if order == 0 && e.isFile() {
			return e.hash, t
		}
	}
	return plumbing.ZeroHash, t
}
