package forgetest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Pull is a request to merge a branch: a pull request of GitHub or a merge request of GitLab.
type Pull struct {
	Number     int
	From, Into string
	Title      string
	Body       string
	State      string // open, closed or merged
	Labels     []string
	Assignees  []string
	Reviewers  []string
	Comments   []string
	AutoMerge  bool
	Opened     time.Time

	head string // of a merged request
}

// Pulls returns the requests so far, oldest first.
func (r *Repo) Pulls() []Pull {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Pull, len(r.pulls))
	for i, p := range r.pulls {
		out[i] = *p
	}
	return out
}

// ClosePull closes a request, as a person does.
func (r *Repo) ClosePull(number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulls[number-1].State = "closed"
}

// Retitle changes the title of a request, as a person does.
func (r *Repo) Retitle(number int, title string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulls[number-1].Title = title
}

// MergePull merges a request and returns the commit.
func (r *Repo) MergePull(number int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.merge(r.pulls[number-1])
}

// Head returns the newest commit of a branch, or "".
func (r *Repo) Head(branch string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.branches[branch]
}

// File returns a file of a branch or commit, or "".
func (r *Repo) File(ref, file string) string { return r.at(ref).files[file].content }

// Message returns the message of a commit, or of the newest one of a branch.
func (r *Repo) Message(ref string) string { return r.at(ref).message }

// Push makes a commit on a branch, as a person does.
func (r *Repo) Push(branch, message, file, content string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(branch, r.branches[branch], message, map[string]*entry{file: {content: content, kind: "file"}})
}

func (r *Repo) merge(p *Pull) string {
	base := r.mergeBase(r.branches[p.Into], r.branches[p.From])
	changed := map[string]*entry{}
	for _, file := range r.changedSince(base, r.branches[p.From]) {
		e := r.commits[r.branches[p.From]].files[file]
		changed[file] = &e
	}
	p.State, p.AutoMerge, p.head = "merged", false, r.branches[p.From]
	return r.add(p.Into, r.branches[p.Into], "merge "+p.From, changed)
}

// mergeBase returns the newest commit that two commits have in common.
func (r *Repo) mergeBase(a, b string) string {
	above := map[string]bool{}
	for c := r.commits[a]; c != nil; c = r.commits[c.parent] {
		above[c.sha] = true
	}
	for c := r.commits[b]; c != nil; c = r.commits[c.parent] {
		if above[c.sha] {
			return c.sha
		}
	}
	return ""
}

// ahead returns the commits above a base, oldest first.
func (r *Repo) ahead(base, head string) []*commit {
	var out []*commit
	for c := r.commits[head]; c != nil && c.sha != base; c = r.commits[c.parent] {
		out = append(out, c)
	}
	slices.Reverse(out)
	return out
}

// changedSince returns the files whose content two commits do not share.
func (r *Repo) changedSince(base, head string) []string {
	from, to := r.commits[base].files, r.commits[head].files
	all := maps.Clone(to)
	maps.Copy(all, from)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(file string) bool { return from[file] == to[file] })
}

// status returns how a request stands to its target: clean, blocked, dirty or behind.
func (r *Repo) status(p *Pull) string {
	from, into := r.branches[p.From], r.branches[p.Into]
	base := r.mergeBase(into, from)
	moved := r.changedSince(base, into)
	for _, file := range r.changedSince(base, from) {
		if slices.Contains(moved, file) && r.commits[from].files[file] != r.commits[into].files[file] {
			return "dirty"
		}
	}
	switch {
	case r.UpToDate && base != into:
		return "behind"
	case r.Protected:
		return "blocked"
	}
	return "clean"
}

// open opens a request. It returns what the forge says about one that it refuses.
func (r *Repo) open(p Pull) (*Pull, string) {
	switch {
	case r.branches[p.From] == "" || r.branches[p.Into] == "":
		return nil, "not all refs are readable"
	case len(r.ahead(r.mergeBase(r.branches[p.Into], r.branches[p.From]), r.branches[p.From])) == 0:
		return nil, fmt.Sprintf("No commits between %s and %s", p.Into, p.From)
	case slices.ContainsFunc(r.pulls, func(o *Pull) bool { return o.State == "open" && o.From == p.From && o.Into == p.Into }):
		return nil, "A pull request already exists for " + p.From + "."
	}
	p.Number, p.State = len(r.pulls)+1, "open"
	if p.Opened.IsZero() {
		p.Opened = time.Now().UTC().Truncate(time.Second)
	}
	r.pulls = append(r.pulls, &p)
	return &p, ""
}

// settle closes the open requests whose branches are gone or have no commits of their own.
func (r *Repo) settle() {
	for _, p := range r.pulls {
		head := r.branches[p.From]
		if p.State == "open" && (head == "" || head == r.mergeBase(r.branches[p.Into], head)) {
			p.State = "closed"
		}
	}
}

// headOf returns the newest commit of a request.
func (r *Repo) headOf(p *Pull) string {
	if p.head != "" {
		return p.head
	}
	return r.branches[p.From]
}

func (r *Repo) find(number string) *Pull {
	for _, p := range r.pulls {
		if strconv.Itoa(p.Number) == number {
			return p
		}
	}
	return nil
}

// Reset moves a branch to another one.
func (r *Repo) Reset(branch, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.branches[branch] = r.branches[to]
}
