package bootstrap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
)

// gitHubWorkflow is a workflow file of GitHub Actions.
type gitHubWorkflow struct {
	Name        string               `yaml:"name"`
	RunName     string               `yaml:"run-name"`
	On          gitHubEvents         `yaml:"on"`
	Permissions map[string]string    `yaml:"permissions"`
	Concurrency gitHubConcurrency    `yaml:"concurrency"`
	Jobs        map[string]gitHubJob `yaml:"jobs"`
}

type gitHubEvents struct {
	Push     gitHubPush     `yaml:"push"`
	Dispatch gitHubDispatch `yaml:"workflow_dispatch"`
}

type gitHubPush struct {
	Branches []string `yaml:"branches"`
}

type gitHubDispatch struct {
	Inputs map[string]gitHubInput `yaml:"inputs,omitempty"`
}

type gitHubInput struct {
	Description string `yaml:"description"`
	Required    bool   `yaml:"required"`
	Type        string `yaml:"type"`
}

type gitHubConcurrency struct {
	Group  string `yaml:"group"`
	Cancel bool   `yaml:"cancel-in-progress"`
}

type gitHubJob struct {
	If          string            `yaml:"if,omitempty"`
	RunsOn      string            `yaml:"runs-on"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions map[string]string `yaml:"permissions"`
	Steps       []gitHubStep      `yaml:"steps"`
}

type gitHubStep struct {
	Name string            `yaml:"name,omitempty"`
	Uses string            `yaml:"uses"`
	With map[string]string `yaml:"with,omitempty"`
	Env  map[string]string `yaml:"env,omitempty"`
}

// gitHub returns the workflow of GitHub Actions, or of Gitea Actions, that builds the images. It runs no script: no text of an entry is read by a shell.
func (b *workflowBuilder) gitHub(img *config.Image) (*Workflow, error) {
	title, group := "Build "+img.Name, "build-"+img.Name
	selector := ""
	if len(b.images) > 1 {
		var err error
		if selector, err = b.selector(); err != nil {
			return nil, err
		}
		title, group = "Build images of "+img.Source.Workflow, "build-"+img.Source.Workflow+"-${{ inputs."+selector+" || 'all' }}"
	}
	inputs, ids, err := b.inputs()
	if err != nil {
		return nil, err
	}
	w := gitHubWorkflow{
		Name: title, RunName: title,
		On:          gitHubEvents{gitHubPush{[]string{branchPattern(img.Source.Branch)}}, gitHubDispatch{inputs}},
		Permissions: map[string]string{}, Concurrency: gitHubConcurrency{Group: group}, Jobs: map[string]gitHubJob{},
	}
	if len(ids) > 0 { // imagefactory finds the run of a rebuild by its title
		w.RunName = fmt.Sprintf("%s ${{ %s || github.ref_name }}", title, strings.Join(ids, " || "))
	} else {
		b.note("add inputs: {rebuild: \"{{promotion}}\"} to source of the entry in images.yaml and write the workflow again, so that the title of a run names its rebuild")
	}
	for _, x := range b.images {
		job, err := b.gitHubJob(x)
		if err != nil {
			return nil, err
		}
		if selector != "" {
			job.If = fmt.Sprintf("${{ !inputs.%s || inputs.%s == '%s' }}", selector, selector, x.Name)
		}
		w.Jobs["build-"+x.Name] = *job
	}
	if img.Source.Provider == config.Gitea {
		for _, job := range w.Jobs {
			for i := range job.Steps {
				job.Steps[i].Uses = gitHubActions + job.Steps[i].Uses
			}
		}
	}
	return b.render(img.Name, w)
}

// selector returns the input that names the image to build, which all images of a workflow must have.
func (b *workflowBuilder) selector() (string, error) {
	common := inputsWith(b.images[0].Source.Inputs, onlyImage())
	names := make([]string, len(b.images))
	for i, x := range b.images {
		names[i] = x.Name
		with := inputsWith(x.Source.Inputs, onlyImage())
		common = slices.DeleteFunc(common, func(input string) bool { return !slices.Contains(with, input) })
	}
	if len(common) == 0 {
		return "", fleet.Usagef("%s is the workflow of %s: give all of them an input that names the image, such as inputs: {image: \"{{image}}\"}, or a workflow each",
			b.images[0].Source.Workflow, strings.Join(names, ", "))
	}
	return common[0], nil
}

// inputs declares the inputs of all images, and returns the expressions of those that contain the ID of the rebuild.
func (b *workflowBuilder) inputs() (declared map[string]gitHubInput, ids []string, err error) {
	declared = map[string]gitHubInput{}
	for _, x := range b.images {
		for name, template := range x.Source.Inputs {
			if !inputName().MatchString(name) {
				return nil, nil, fleet.Usagef("%q: invalid name of a workflow input %q: GitHub wants letters, digits, - and _", x.Name, name)
			}
			declared[name] = gitHubInput{Description: describeInput(template), Type: "string"}
		}
		for _, name := range inputsWith(x.Source.Inputs, withPromotion()) {
			if id := "inputs." + name; !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if len(declared) > maxGitHubInputs && b.images[0].Source.Provider == config.GitHub {
		return nil, nil, fleet.Usagef("%s has %d inputs, but GitHub allows %d", b.images[0].Source.Workflow, len(declared), maxGitHubInputs)
	}
	return declared, ids, nil
}

func describeInput(template string) string {
	switch {
	case onlyImage().MatchString(template):
		return "The image to build; empty for all that this workflow builds"
	case onlyLock().MatchString(template):
		return "The digests of the base images to build with; empty to read them"
	case withPromotion().MatchString(template):
		return "The rebuild that this run is for"
	}
	return "Set by imagefactory"
}

// branchPattern returns a branch for a place where GitHub expects a pattern.
func branchPattern(branch string) string {
	branch = strings.ReplaceAll(branch, "+", `\+`)
	if strings.HasPrefix(branch, "!") {
		branch = `\` + branch
	}
	return branch
}

// gitHubJob returns the job that builds an image.
func (b *workflowBuilder) gitHubJob(img *config.Image) (*gitHubJob, error) {
	if err := b.checkBuild(img); err != nil {
		return nil, err
	}
	references, err := b.references(img)
	if err != nil {
		return nil, err
	}
	pin, err := b.pinStep(img)
	if err != nil {
		return nil, err
	}
	bake, err := bakeOf(img)
	if err != nil {
		return nil, err
	}
	src := img.Source
	job := &gitHubJob{RunsOn: "ubuntu-latest", Timeout: 60, Permissions: map[string]string{"contents": "read"}}
	add := func(name, uses string, with map[string]string) {
		job.Steps = append(job.Steps, gitHubStep{Name: name, Uses: uses, With: with})
	}
	add("", "actions/checkout", map[string]string{"persist-credentials": "false"})
	if emulates(src) {
		add("", "docker/setup-qemu-action", nil)
	}
	add("", "docker/setup-buildx-action", nil)
	login := map[string]string{"registry": img.Registry, "username": "${{ secrets.REGISTRY_USERNAME }}", "password": "${{ secrets.REGISTRY_PASSWORD }}"}
	if img.Registry == "ghcr.io" && src.Host == config.HomeHost(config.GitHub) {
		job.Permissions["packages"] = "write"
		login["username"], login["password"] = "${{ github.actor }}", "${{ github.token }}"
	}
	add("", "docker/login-action", login)
	job.Steps = append(job.Steps, *pin)
	if bake != nil {
		job.Steps = append(job.Steps, bake.step(references))
		return job, nil
	}
	build := map[string]string{
		"context": verbatim(b.Context), "file": verbatim(src.Dockerfile), "platforms": strings.Join(src.Platforms, ","), "push": "true",
		"provenance": "mode=max", "tags": strings.Join(references, "\n"),
	}
	for key, value := range map[string]string{
		"target": src.Target, "build-args": strings.Join(pairs(src.BuildArgs), "\n"), "build-contexts": strings.Join(pairs(src.BuildContexts), "\n"),
	} {
		if value != "" {
			build[key] = verbatim(value)
		}
	}
	add("Build with the lock", "docker/build-push-action", build)
	return job, nil
}

// pinStep returns the step that makes the build use the lock.
func (b *workflowBuilder) pinStep(img *config.Image) (*gitHubStep, error) {
	from, elsewhere, err := b.lockFrom(img.Source)
	if err != nil {
		return nil, err
	}
	with := map[string]string{"image": img.Name, "version": b.Release}
	for key, value := range map[string]string{"repository": from.repository, "ref": from.ref, "path": from.path, "config": from.config, "config-ref": from.configRef} {
		if value != "" {
			with[key] = verbatim(value)
		}
	}
	if elsewhere {
		with["token"] = "${{ secrets.IMAGEFACTORY_READ_TOKEN }}" // may be missing if the repository is public
	}
	if lock := inputsWith(img.Source.Inputs, onlyLock()); len(lock) > 0 {
		with["lock"] = "${{ inputs." + lock[0] + " }}"
	}
	return &gitHubStep{Name: "Fetch the lock", Uses: ownAction, With: with}, nil
}
