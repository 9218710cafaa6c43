package buildrunner

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/test/parts"
)

func TestExpressions(t *testing.T) {
	v := values{"inputs.image": "web", "inputs.lock": "", "github.repository": "acme/web", "steps.pin.outputs.policy": "/p", "steps.pin.outcome": "success"}
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
		"${{ steps.pin.outputs.unset }}":                "",
		"${{ steps.pin.outcome == 'success' }}":         "true",
		"${{ inputs.image && inputs.lock }}":            "",
		"${{ inputs.image && 'b' }}":                    "b",
		"${{ 'a' || 'b' && '' }}":                       "a",
		"${{ inputs.image != 'a' }}":                    "true",
		"${{ !cancelled() && inputs.image != 'web' }}":  "false",
	} {
		if got, err := v.expand(text); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"${{ inputs.other }}", "${{ always() }}", "${{ steps.other.outcome }}", "${{ steps.other.outputs.a }}", "${{ github.event.other }}", "${{ env.A }}",
		"${{ inputs.image > 'a' }}", "${{ && 'a' }}", "${{ ('a') }}", "${{ }}", "${{ 'a' 'b' }}", "${{ inputs.image",
	} {
		if got, err := v.expand(text); err == nil {
			t.Errorf("%s: %q, want an error", text, got)
		}
	}
}

// try runs a job with these steps.
func try(t *testing.T, steps string) (parts.Result, string, error) {
	t.Helper()
	task := &parts.Task{}
	task.Context.Event.Inputs = map[string]string{"image": "web", "undeclared": "x"}
	return tryTask(t, task, steps)
}

// tryTask runs a job with these steps, for a task.
func tryTask(t *testing.T, task *parts.Task, steps string) (parts.Result, string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho imagefactory $* in $PWD\necho changed=true >> $GITHUB_OUTPUT\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	released, err := serveReleases(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	defer released.close()
	var log strings.Builder
	r := &Runner{Options: Options{
		Parts: &parts.Parts{Options: parts.Options{Dir: t.TempDir()}, BuildKit: &parts.BuildKit{}}, Source: "../../..", Log: &log, Environ: func() []string { return nil },
	}, releases: released}
	task.Workflow = []byte("\"on\": {workflow_dispatch: {inputs: {image: {type: string}}}}\nenv: {ALL: \"of ${{ inputs.image }}\", OWN: all}\njobs:\n  build:\n    runs-on: ubuntu-latest\n" + steps)
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

func TestEnv(t *testing.T) {
	result, log, err := try(t, `    env: {JOB: "${{ runner.temp }}", OWN: job}
    steps:
    - run: test "$JOB" = "$RUNNER_TEMP" && mkdir sub && echo "$ALL $OWN"
    - run: echo "$OWN" in "${PWD##*/}"
      working-directory: sub
      env: {OWN: step}
`)
	if result != parts.Success || err != nil || log != "of web job\nstep in sub\n" {
		t.Errorf("%s %v: %q", result, err, log)
	}
	if result, _, err := try(t, "    env: {A: '${{ inputs.other }}'}\n    steps: []\n"); result != parts.Failure || err == nil {
		t.Errorf("%s %v", result, err)
	}
}

func TestFailure(t *testing.T) {
	result, log, err := try(t, `    steps:
    - id: first
      run: echo one
    - id: second
      run: exit 3
    - id: third
      run: echo three
    - if: "!cancelled() && steps.first.outcome == 'success'"
      run: echo "${{ steps.second.outcome }} ${{ steps.third.outcome }}"
    - if: steps.first.outcome == 'success'
      run: echo five
`)
	if result != parts.Failure || err == nil || !strings.Contains(err.Error(), "exit status 3") || log != "one\nfailure skipped\n" {
		t.Errorf("%s %v: %q", result, err, log)
	}
}

func TestAction(t *testing.T) {
	result, log, err := try(t, `    steps:
    - id: tool
      uses: https://github.com/imagefactory/imagefactory@0123456789012345678901234567890123456789
      with: {version: v1.2.3, command: synth, args: --check}
    - run: imagefactory status && echo "${{ steps.tool.outputs.changed }} ${{ steps.tool.outputs.due }}."
`)
	if result != parts.Success || err != nil || !strings.HasPrefix(log, "imagefactory synth --check in /") || !strings.HasSuffix(log, "\ntrue .\n") || !strings.Contains(log, "\nimagefactory status in /") {
		t.Errorf("%s %v: %q", result, err, log)
	}
}

// gitIn runs git in a folder.
func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=acme", "-c", "user.email=acme@acme.example"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestCheckout(t *testing.T) {
	server, clone := t.TempDir(), t.TempDir()
	gitIn(t, server, "init", "--quiet", "--bare", "--initial-branch=main", "acme/web")
	gitIn(t, clone, "clone", "--quiet", filepath.Join(server, "acme/web"), ".")
	for _, subject := range []string{"one", "two", "three"} {
		gitIn(t, clone, "commit", "--quiet", "--allow-empty", "--message", subject)
	}
	gitIn(t, clone, "push", "--quiet", "origin", "main", "main:other")
	task := &parts.Task{}
	task.Context.ServerURL, task.Context.Repository, task.Context.SHA, task.Context.Token = "file://"+server+"/", "acme/web", gitIn(t, clone, "rev-parse", "main"), "secret"
	const show = "- run: git log --format=%s | tr '\\n' ' ' && git branch --all --format='%(refname:short)' | tr '\\n' ' ' && (git config --get-regexp extraheader || true) | wc -l"
	for with, want := range map[string]string{
		"{persist-credentials: false}":                 "three (HEAD detached at " + task.Context.SHA[:7] + ") 0\n",
		"{fetch-depth: 2, persist-credentials: false}": "three two (HEAD detached at " + task.Context.SHA[:7] + ") 0\n",
		"{fetch-depth: 0, persist-credentials: false}": "three two one (HEAD detached at " + task.Context.SHA[:7] + ") origin/main origin/other 0\n",
		"{ref: other}": "three other origin/other 1\n",
	} {
		if result, log, err := tryTask(t, task, "    steps:\n    - {uses: actions/checkout@v7, with: "+with+"}\n    "+show+"\n"); result != parts.Success || err != nil || log != want {
			t.Errorf("%s: %s %v: %q, want %q", with, result, err, log, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	for steps, want := range map[string]string{
		"[{run: exit 3}]":            "exit status 3",
		"[{run: docker build .}]":    "only docker buildx is here",
		"[{uses: actions/cache@v4}]": `unknown action "actions/cache@v4"`,
		"[{uses: actions/checkout@v4, with: {persist-credentials: never}}]":      "persist-credentials",
		"[{uses: imagefactory/imagefactory@v1, with: {checks: a}}]":              `unknown input "checks"`,
		"[{uses: docker/setup-qemu-action@v3, with: {platforms: all}}]":          `unknown input "platforms"`,
		"[{uses: docker/login-action@v3, with: {registry: a, username: b}}]":     "required",
		"[{uses: docker/build-push-action@v6, with: {context: ., push: false}}]": "only builds of a context that are pushed",
		"[{uses: docker/bake-action@v7, with: {push: true}}]":                    "only builds in a folder that are pushed",
		"[{uses: docker/login-action@v3, env: {A: b}}]":                          "uses together with run, working-directory or env",
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
