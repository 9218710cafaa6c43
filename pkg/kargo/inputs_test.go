package kargo

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInputsOfPipeline(t *testing.T) {
	fl := fleet{
		Images: `[{name: a, repository: o/a, source: {provider: gitlab, repo: o/a, inputs: {base: "{{base}}", n: "1"}, job: build}}]`,
		Uses:   map[string][]string{"a": {"docker.io/library/node:22"}},
	}
	p := &promotion{
		t: t, objects: fl.objects(t), stage: "rebuild-a", freight: nodeFreight(), secrets: tokens(),
		forge: script([]answer{{201, body{"id": 1}}}, []answer{pipeline("success")}),
	}
	require.True(t, p.run())
	assert.JSONEq(t, `{"ref": "main", "variables": [{"key": "IMAGEFACTORY_JOB", "value": "build"}], "inputs": {"base": "docker.io/library/node:22", "n": "1"}}`, p.requests[0].body)
}
