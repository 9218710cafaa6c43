package buildrunner

import (
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/test/parts"
)

func TestExpressions(t *testing.T) {
	v := values{"inputs.image": "web", "inputs.lock": "", "github.repository": "acme/web", "steps.pin.outputs.policy": "/p"}
	for text, want := range map[string]string{
		"plain": "plain",
		"a ${{ inputs.image }}-${{inputs.lock}} b":      "a web- b",
		"${{ inputs.lock || github.repository }}":       "acme/web",
		"${{ inputs.lock || '' || 'x' }}":               "x",
		"${{ secrets.NONE }}":                           "",
		"${{ inputs.image == 'web' }}":                  "true",
		"${{ !inputs.image || inputs.image == 'api' }}": "false",
		"${{ '${{' }} not.evaluated }}":                 "${{ not.evaluated }}",
		"${{ steps.pin.outputs.policy }}":               "/p",
	} {
		if got, err := v.expand(text); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"${{ inputs.other }}", "${{ always() }}", "${{ inputs.image && inputs.lock }}", "${{ inputs.image != 'a' }}", "${{ env.A }}", "${{ }}", "${{ 'a' 'b' }}", "${{ inputs.image",
	} {
		if got, err := v.expand(text); err == nil {
			t.Errorf("%s: %q, want an error", text, got)
		}
	}
}

// try runs a job with these steps.
func try(t *testing.T, steps string) (parts.Result, string, error) {
	t.Helper()
	var log strings.Builder
	r := &Runner{Options: Options{
		Parts: &parts.Parts{Options: parts.Options{Dir: t.TempDir()}, BuildKit: &parts.BuildKit{}}, Source: "../../..", Log: &log, Environ: func() []string { return nil },
	}, releases: &releases{}}
	task := &parts.Task{Workflow: []byte("\"on\": {workflow_dispatch: {inputs: {image: {type: string}}}}\njobs:\n  build:\n    runs-on: ubuntu-latest\n" + steps)}
	task.Context.Event.Inputs = map[string]string{"image": "web", "undeclared": "x"}
	result, err := r.run(t.Context(), task)
	return result, log.String(), err
}

func TestSteps(t *testing.T) {
	result, log, err := try(t, `    steps:
    - id: first
      run: |
        echo "out=$NAME" >> "$GITHUB_OUTPUT"
        echo "LATER=set" >> "$GITHUB_ENV"
        mkdir tools
        printf '#!/bin/sh\necho from a tool' > tools/tool
        chmod +x tools/tool
        echo "$PWD/tools" >> "$GITHUB_PATH"
      env: {NAME: "${{ inputs.image }}"}
    - if: inputs.image == 'other'
      run: exit 1
    - continue-on-error: true
      run: exit 1
    - run: echo "${{ steps.first.outputs.out }} $LATER $(tool)"
`)
	if result != parts.Success || err != nil || log != "web set from a tool\n" {
		t.Errorf("%s %v: %q", result, err, log)
	}
	if result, _, err := try(t, "    if: ${{ inputs.image == 'other' }}\n    steps: [{run: exit 1}]\n"); result != parts.Skipped || err != nil {
		t.Errorf("%s %v", result, err)
	}
}

func TestUnknown(t *testing.T) {
	for steps, want := range map[string]string{
		"[{run: exit 3}]":               "exit status 3",
		"[{run: docker build .}]":       "only docker buildx is here",
		"[{uses: actions/cache@v4}]":    `unknown action "actions/cache@v4"`,
		"[{uses: actions/checkout@v4}]": "persist-credentials",
		"[{uses: docker/setup-qemu-action@v3, with: {platforms: all}}]":          `unknown input "platforms"`,
		"[{uses: docker/login-action@v3, with: {registry: a, username: b}}]":     "required",
		"[{uses: docker/build-push-action@v6, with: {context: ., push: false}}]": "only builds of a context that are pushed",
		"[{uses: docker/bake-action@v7, with: {push: true}}]":                    "only builds in a folder that are pushed",
		"[{uses: docker/login-action@v3, env: {A: b}}]":                          "uses together with run or env",
		"[{uses: imagefactory/imagefactory/pin@v1}]":                             `input "image" is required`,
		"[{uses: imagefactory/imagefactory/pin@v1, with: {image: a, img: b}}]":   `unknown input "img"`,
		"[{run: 'true', shell: pwsh}]":                                           `unknown shell "pwsh"`,
		"[{run: 'echo ${{ github.actor }}'}]":                                    `unknown name "github.actor"`,
		"[{run: 'true', timeout-minutes: 1}]":                                    "timeout-minutes",
		"[{run: 'echo \"a<<EOF\" >> \"$GITHUB_OUTPUT\"'}]":                       "unknown line",
	} {
		if result, _, err := try(t, "    steps: "+steps+"\n"); result != parts.Failure || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s %v, want %q", steps, result, err, want)
		}
	}
	if result, _, err := try(t, "    steps: []\n    strategy: {}\n"); result != parts.Failure || err == nil {
		t.Errorf("%s %v", result, err)
	}
}
