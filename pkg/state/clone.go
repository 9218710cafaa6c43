package state

import "slices"

// Clone returns a copy that shares no data with the original that a method changes in place.
func (i *Image) Clone() *Image {
	out := *i
	out.Dockerfile, out.Build, out.Tags, out.Rebuild = clonePointer(i.Dockerfile), clonePointer(i.Build), clonePointer(i.Tags), clonePointer(i.Rebuild)
	out.PullRequest = clonePointer(i.PullRequest)
	out.BaseImages = slices.Clone(i.BaseImages)
	for j := range out.BaseImages {
		out.BaseImages[j].Uses = slices.Clone(i.BaseImages[j].Uses)
		out.BaseImages[j].Pin = clonePointer(i.BaseImages[j].Pin)
	}
	out.Unresolved, out.BuiltOn, out.Published = slices.Clone(i.Unresolved), slices.Clone(i.BuiltOn), slices.Clone(i.Published)
	out.RebuildHistory = slices.Clone(i.RebuildHistory)
	return &out
}

// Clone returns a copy that shares no data with the original that a method changes in place.
func (b *Base) Clone() *Base {
	out := *b
	out.Baseline, out.Newer = clonePointer(b.Baseline), clonePointer(b.Newer)
	out.Candidates, out.UpdateHistory = slices.Clone(b.Candidates), slices.Clone(b.UpdateHistory)
	return &out
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
