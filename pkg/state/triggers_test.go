package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/state"
)

func TestTriggersOfABase(t *testing.T) {
	b := &state.Base{}
	arm := state.Triggers{Platform: "linux/arm64", Digest: "sha256:a", OnBuild: []string{"COPY --from=tool:1 . ."}}
	amd := state.Triggers{Platform: "linux/amd64", Digest: "sha256:b", Extra: state.Extra{"newer": true}}
	b.SetTriggers(arm)
	b.SetTriggers(amd)
	assert.Equal(t, []state.Triggers{amd, arm}, b.Triggers, "sorted")
	assert.Equal(t, &arm, b.TriggersOf("linux/arm64", "sha256:a"))
	assert.Nil(t, b.TriggersOf("linux/arm64", "sha256:b"), "another digest")
	assert.Nil(t, b.TriggersOf("linux/s390x", "sha256:a"))

	b.SetTriggers(state.Triggers{Platform: "linux/amd64", Digest: "sha256:c"})
	assert.Equal(t, state.Triggers{Platform: "linux/amd64", Digest: "sha256:c", Extra: amd.Extra}, b.Triggers[0], "what a newer version wrote stays")
}

// Whatever a registry has, the file of a base image stays small.
func TestTriggersAreBounded(t *testing.T) {
	for name, tt := range map[string]state.Triggers{
		"many":          {Platform: "linux/amd64", OnBuild: slices.Repeat([]string{"COPY --from=a . ."}, 65)},
		"long":          {Platform: "linux/amd64", OnBuild: []string{strings.Repeat("x", 9<<10)}},
		"long platform": {Platform: "linux/" + strings.Repeat("x", 9<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			b := &state.Base{}
			b.SetTriggers(tt)
			assert.Empty(t, b.Triggers)
			b.SetTriggers(state.Triggers{Platform: tt.Platform[:11], Digest: "sha256:a"})
			b.SetTriggers(tt)
			assert.Nil(t, b.TriggersOf(tt.Platform, tt.Digest))
		})
	}
	b := &state.Base{}
	for i := range 100 {
		b.SetTriggers(state.Triggers{Platform: fmt.Sprintf("linux/a%d", i)})
	}
	assert.Len(t, b.Triggers, 32)
}
