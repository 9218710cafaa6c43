// Package buildrunner is a runner of Gitea Actions for the workflows that `imagefactory workflow` and `imagefactory init --full` write: it
// clones the repository, runs the actions of imagefactory and the commands, and builds with BuildKit. It knows the actions and
// expressions of these workflows; anything else in a workflow is an error.
package buildrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/parts"
)

// Options configure a [Runner].
type Options struct {
	Parts        *parts.Parts
	Organization string          // whose jobs the runner takes; empty for all
	Source       string          // the repository of imagefactory, which has its actions
	Program      string          // imagefactory, as the release that the action installs
	Environ      func() []string // variables of all steps in addition, as of now; may be nil
	Log          io.Writer       // for what the steps print; may be nil
}

// Runner runs one job at a time.
type Runner struct {
	Options

	tasks    *parts.Runner
	releases *releases
}

// New registers a runner at Gitea.
func New(ctx context.Context, o Options) (*Runner, error) {
	if o.Environ == nil {
		o.Environ = func() []string { return nil }
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	tasks, err := o.Parts.Gitea.NewRunner(ctx, o.Organization)
	if err != nil {
		return nil, err
	}
	released, err := serveReleases(ctx, o.Program)
	return &Runner{o, tasks, released}, err
}

// Close ends what New has started.
func (r *Runner) Close() { r.releases.close() }

// Done is a job that has ended.
type Done struct {
	Task   *parts.Task
	Result parts.Result
	Err    error // why it failed
}

// Next takes the next job, runs it and reports its result to Gitea. It returns nil if no job comes within ten seconds.
func (r *Runner) Next(ctx context.Context) (*Done, error) {
	task, err := r.tasks.Next(ctx)
	if task == nil {
		return nil, err
	}
	done := &Done{Task: task}
	stop := r.tasks.Heartbeat(ctx, task)
	done.Result, done.Err = r.run(ctx, task)
	stop()
	if done.Err != nil {
		_, _ = fmt.Fprintln(r.Log, done.Err)
	}
	return done, r.tasks.End(ctx, task, done.Result)
}

// Serve runs jobs until ctx is done. An error of Gitea is logged, and the runner asks again.
func (r *Runner) Serve(ctx context.Context) {
	for ctx.Err() == nil {
		if _, err := r.Next(ctx); err != nil {
			_, _ = fmt.Fprintln(r.Log, err)
			time.Sleep(time.Second)
		}
	}
}

// file is a workflow with one job. The keys that imagefactory or Gitea writes and that do not concern a runner are not read.
type file struct {
	Name        string `json:"name"`
	RunName     any    `json:"run-name"`
	On          any    `json:"on"`
	Permissions any    `json:"permissions"`
	Concurrency any    `json:"concurrency"`

	Env  map[string]string `json:"env"`
	Jobs map[string]struct {
		Name        string            `json:"name"`
		If          string            `json:"if"`
		RunsOn      any               `json:"runs-on"`
		Timeout     any               `json:"timeout-minutes"`
		Permissions any               `json:"permissions"`
		Env         map[string]string `json:"env"`
		Steps       []step            `json:"steps"`
	} `json:"jobs"`
}

// step is a step of a job or of a composite action.
type step struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	If              string            `json:"if"`
	Uses            string            `json:"uses"`
	With            map[string]string `json:"with"`
	Run             string            `json:"run"`
	Shell           string            `json:"shell"`
	Folder          string            `json:"working-directory"`
	Env             map[string]string `json:"env"`
	ContinueOnError any               `json:"continue-on-error"`
}

// run runs the job of a task.
func (r *Runner) run(ctx context.Context, task *parts.Task) (parts.Result, error) {
	var w file
	if err := yaml.UnmarshalStrict(task.Workflow, &w); err != nil {
		return parts.Failure, fmt.Errorf("reading the workflow: %w\n%s", err, task.Workflow)
	}
	if len(w.Jobs) != 1 {
		return parts.Failure, fmt.Errorf("the workflow has %d jobs, want one", len(w.Jobs))
	}
	dir, err := os.MkdirTemp(r.Parts.Dir, "job-")
	if err != nil {
		return parts.Failure, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	j, err := r.newJob(task, &w, dir)
	if err != nil {
		return parts.Failure, err
	}
	for name, def := range w.Jobs {
		wanted, err := j.values.holds(def.If, false)
		switch {
		case err != nil:
			return parts.Failure, fmt.Errorf("job %s: %w", name, err)
		case !wanted:
			return parts.Skipped, nil
		}
		if err := errors.Join(j.setEnv(w.Env), j.setEnv(def.Env)); err != nil {
			return parts.Failure, fmt.Errorf("job %s: %w", name, err)
		}
		if err := j.steps(ctx, j.values, def.Steps, ""); err != nil {
			return parts.Failure, fmt.Errorf("job %s: %w", name, err)
		}
	}
	return parts.Success, nil
}

// job is a job that runs, in a folder of its own.
type job struct {
	*Runner

	task      *parts.Task
	dir       string
	workspace string
	values    values
	environ   []string // of all steps
}

func (r *Runner) newJob(task *parts.Task, w *file, dir string) (*job, error) {
	c := &task.Context
	j := &job{Runner: r, task: task, dir: dir, workspace: filepath.Join(dir, "workspace")}
	j.values = values{
		"github.repository": c.Repository, "github.sha": c.SHA, "github.ref": c.Ref, "github.ref_name": c.RefName, "github.run_id": c.RunID,
		"github.run_number": c.RunNumber, "github.event_name": c.EventName, "github.server_url": c.ServerURL, "github.token": c.Token, "github.action_ref": "",
		"github.base_ref": c.BaseRef, "github.event.head_commit.author.name": c.Event.HeadCommit.Author.Name, "runner.temp": filepath.Join(dir, "temp"),
	}
	for name, secret := range task.Secrets {
		j.values["secrets."+name] = secret
	}
	for _, name := range declaredInputs(w.On) {
		j.values["inputs."+name] = c.Event.Inputs[name]
	}
	bin := filepath.Join(dir, "bin")
	for _, folder := range []string{j.workspace, bin, filepath.Join(dir, "docker"), filepath.Join(dir, "home"), filepath.Join(dir, "temp")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return nil, err
		}
	}
	docker := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = buildx ] || { echo \"docker $1: only docker buildx is here\" >&2; exit 1; }\nshift\nexec '%s' \"$@\"\n", r.Parts.BuildKit.Program("buildx"))
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o700); err != nil {
		return nil, err
	}
	j.environ = append([]string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "DOCKER_CONFIG=" + filepath.Join(dir, "docker"),
		"RUNNER_OS=Linux", "RUNNER_ARCH=X64", "RUNNER_TEMP=" + filepath.Join(dir, "temp"), "GITHUB_WORKSPACE=" + j.workspace,
		"GITHUB_REPOSITORY=" + c.Repository, "GITHUB_SHA=" + c.SHA, "GITHUB_REF=" + c.Ref, "GITHUB_REF_NAME=" + c.RefName, "GITHUB_RUN_ID=" + c.RunID,
		"GITHUB_EVENT_NAME=" + c.EventName, "GITHUB_SERVER_URL=" + c.ServerURL, "GIT_TERMINAL_PROMPT=0", "RELEASES=" + r.releases.url,
	}, r.Environ()...)
	return j, nil
}

// setEnv sets variables of all steps.
func (j *job) setEnv(env map[string]string) error {
	expanded, err := j.values.expandAll(env)
	j.environ = append(j.environ, assignments(expanded)...)
	return err
}

// assignments returns NAME=VALUE for each variable.
func assignments(env map[string]string) []string {
	var out []string
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// declaredInputs returns the inputs of workflow_dispatch.
func declaredInputs(on any) []string {
	events, _ := on.(map[string]any)
	dispatch, _ := events["workflow_dispatch"].(map[string]any)
	inputs, _ := dispatch["inputs"].(map[string]any)
	var out []string
	for name := range inputs {
		out = append(out, name)
	}
	return out
}

// The outcomes of steps.
const (
	success = "success"
	failure = "failure"
	skipped = "skipped"
)

// steps runs steps one after the other. actionPath is the folder of the action that they are part of, if any.
func (j *job) steps(ctx context.Context, v values, steps []step, actionPath string) error {
	var failed error
	for i, s := range steps {
		title := s.Name
		if title == "" {
			title = fmt.Sprintf("step %d %s", i+1, s.Uses)
		}
		outcome, err := j.step(ctx, v, s, actionPath, failed != nil)
		if s.ID != "" {
			v["steps."+s.ID+".outcome"] = outcome
		}
		if err == nil {
			continue
		}
		goOn := false
		if s.ContinueOnError != nil {
			text, invalid := v.expand(fmt.Sprint(s.ContinueOnError))
			goOn, err = text == "true", errors.Join(err, invalid)
		}
		if !goOn {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", title, err))
		}
	}
	return failed
}

// step runs a step, unless its condition does not hold. failed reports whether an earlier step has failed.
func (j *job) step(ctx context.Context, v values, s step, actionPath string, failed bool) (outcome string, err error) {
	wanted, err := v.holds(s.If, failed)
	if err == nil && !wanted {
		return skipped, nil
	}
	if err == nil {
		err = j.do(ctx, v, s, actionPath)
	}
	if err != nil {
		return failure, err
	}
	return success, nil
}

// do does what a step says.
func (j *job) do(ctx context.Context, v values, s step, actionPath string) error {
	with, errWith := v.expandAll(s.With)
	env, errEnv := v.expandAll(s.Env)
	if err := errors.Join(errWith, errEnv); err != nil {
		return err
	}
	if s.Uses == "" {
		script, errScript := v.expand(s.Run)
		folder, errFolder := v.expand(s.Folder)
		if err := errors.Join(errScript, errFolder); err != nil {
			return err
		}
		s.Run, s.Folder, s.Env = script, folder, env
		return j.script(ctx, v, s, actionPath)
	}
	name, ref, _ := strings.Cut(strings.TrimPrefix(s.Uses, "https://github.com/"), "@")
	if s.Run != "" || s.Folder != "" || len(env) > 0 && name != "docker/bake-action" {
		return errors.New("uses together with run, working-directory or env")
	}
	run := map[string]func(context.Context, inputs) error{
		"actions/checkout":              j.checkout,
		"docker/setup-qemu-action":      j.setupQEMU,
		"docker/setup-buildx-action":    j.setupBuildx,
		"docker/login-action":           j.login,
		"docker/build-push-action":      j.buildPush,
		"docker/bake-action":            func(ctx context.Context, in inputs) error { return j.bake(ctx, in, env) },
		"imagefactory/imagefactory":     func(ctx context.Context, in inputs) error { return j.composite(ctx, ".", ref, s.ID, in) },
		"imagefactory/imagefactory/pin": func(ctx context.Context, in inputs) error { return j.composite(ctx, "pin", ref, s.ID, in) },
	}[name]
	if run == nil {
		return fmt.Errorf("unknown action %q", s.Uses)
	}
	in := inputs{values: with, read: map[string]bool{}}
	if err := run(ctx, in); err != nil {
		return err
	}
	return in.unread()
}
