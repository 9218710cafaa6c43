package bootstrap

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
)

// gitLabInclude includes the component that fetches the lock.
type gitLabInclude struct {
	Remote string            `yaml:"remote"`
	Inputs map[string]string `yaml:"inputs"`
}

type gitLabJob struct {
	Stage         string         `yaml:"stage"`
	Needs         []string       `yaml:"needs"`
	Image         string         `yaml:"image"`
	Services      []string       `yaml:"services"`
	Rules         []gitLabRule   `yaml:"rules"`
	ResourceGroup string         `yaml:"resource_group"`
	Timeout       string         `yaml:"timeout"`
	Variables     map[string]any `yaml:"variables"`
	Script        []string       `yaml:"script"`
}

type gitLabRule struct {
	If string `yaml:"if"`
}

// literalVariable is a variable that GitLab does not expand.
type literalVariable struct {
	Value  string `yaml:"value"`
	Expand bool   `yaml:"expand"`
}

// lockVariable is the pipeline variable that the component takes a lock from.
const lockVariable = "IMAGEFACTORY_LOCK"

const (
	dockerImage = "docker.io/library/docker:29"
	binfmtImage = "docker.io/tonistiigi/binfmt:qemu-v9.2.2"
)

// gitLab returns the configuration for GitLab that builds an image, for .gitlab-ci.yml to include. Values of the entry are
// variables, never text of the script.
func (b *workflowBuilder) gitLab(img *config.Image) (*Workflow, error) {
	if err := b.checkBuild(img); err != nil {
		return nil, err
	}
	references, err := b.references(img)
	if err != nil {
		return nil, err
	}
	include, err := b.includePin(img)
	if err != nil {
		return nil, err
	}
	bake, err := bakeOf(img)
	if err != nil {
		return nil, err
	}
	src, pin := img.Source, "pin-"+img.Name
	for _, text := range []string{src.Branch, src.Job} { // they become text of a rule
		if strings.ContainsAny(text, `"$\`) {
			return nil, fleet.Usagef("%q: a rule of GitLab cannot contain %q: it has a quote, a $ or a backslash", img.Name, text)
		}
	}
	for _, name := range inputsWith(src.Variables, onlyLock()) {
		if name != lockVariable {
			b.note("%s: name the variable that holds {{lock}} %s: the component reads no other", img.Name, lockVariable)
		}
	}
	start := `$CI_PIPELINE_SOURCE == "api"`
	if src.Job != "" {
		start = fmt.Sprintf(`$%s == "%s"`, config.JobVariable, src.Job)
	}
	job := gitLabJob{
		Stage: "build", Needs: []string{pin}, Image: dockerImage, Services: []string{dockerImage + "-dind"},
		Rules: []gitLabRule{
			{start},
			{fmt.Sprintf(`$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "%s"`, src.Branch)},
		},
		ResourceGroup: "build-" + img.Name, Timeout: "1h", Variables: map[string]any{"DOCKER_TLS_CERTDIR": "/certs"},
	}
	var commands []string
	if bake != nil {
		commands = bake.commands(job.Variables, references)
	} else {
		commands = b.buildCommand(job.Variables, src, references)
	}
	job.Variables["REGISTRY"] = literalVariable{Value: img.Registry}
	user, password := "REGISTRY_USERNAME", "REGISTRY_PASSWORD"
	if img.Registry == "registry."+src.Host {
		user, password = "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"
	}
	job.Script = []string{fmt.Sprintf(`printf '%%s' "$%s" | docker login --username "$%s" --password-stdin "$REGISTRY"`, password, user)}
	if emulates(src) {
		job.Script = append(job.Script, "docker run --rm --privileged "+binfmtImage+" --install all")
	}
	job.Script = append(job.Script, "docker context create builder", "docker buildx create --use builder")
	job.Script = append(job.Script, commands...)
	b.note("include the file from .gitlab-ci.yml: {local: /%s}", b.file)
	return b.render(img.Name, map[string]any{"include": []gitLabInclude{*include}, "build-" + img.Name: job})
}

// gitLabCommand is a command whose arguments are variables of the job.
type gitLabCommand struct {
	words     []string
	variables map[string]any
}

func (c *gitLabCommand) argument(flag, variable string, value any) {
	c.variables[variable] = value
	c.words = append(c.words, strings.TrimSpace(flag+` "$`+variable+`"`))
}

// literal adds an argument that GitLab does not expand, unless it is empty.
func (c *gitLabCommand) literal(flag, variable, value string) {
	if value != "" {
		c.argument(flag, variable, literalVariable{Value: value})
	}
}

// buildCommand returns the command that builds a Dockerfile, and sets its variables.
func (b *workflowBuilder) buildCommand(variables map[string]any, src *config.Source, references []string) []string {
	c := gitLabCommand{[]string{"docker buildx build --push --provenance=mode=max"}, variables}
	c.literal("--file", "BUILD_FILE", src.Dockerfile)
	c.literal("--platform", "BUILD_PLATFORMS", strings.Join(src.Platforms, ","))
	c.literal("--target", "BUILD_TARGET", src.Target)
	for i, pair := range pairs(src.BuildArgs) {
		c.literal("--build-arg", fmt.Sprintf("BUILD_ARG_%d", i+1), pair)
	}
	for i, pair := range pairs(src.BuildContexts) {
		c.literal("--build-context", fmt.Sprintf("BUILD_CONTEXT_%d", i+1), pair)
	}
	for i, reference := range references { // a tag of the command line may contain variables of the pipeline
		c.argument("--tag", fmt.Sprintf("BUILD_TAG_%d", i+1), reference)
	}
	c.literal("", "BUILD_CONTEXT", b.Context)
	return []string{strings.Join(c.words, " ")}
}

// commands returns the commands that build, and sets their variables. The lock is named as seen from the folder of the project.
func (b *bakeBuild) commands(variables map[string]any, references []string) []string {
	variables[noEnvironment], variables["BUILDX_BAKE_ENTITLEMENTS_FS"] = "1", "0" // a context may be outside of the folder
	c := gitLabCommand{[]string{"docker buildx bake --push --provenance=mode=max"}, variables}
	c.literal("--file", "BUILD_FILE", b.file)
	for i, override := range b.set {
		c.literal("--set", fmt.Sprintf("BUILD_SET_%d", i+1), override)
	}
	for i, override := range b.tagged(references) {
		c.argument("--set", fmt.Sprintf("BUILD_TAG_%d", i+1), override)
	}
	c.literal("", "BUILD_TARGET", b.target)
	command := strings.Join(c.words, " ")
	if b.folder == "." {
		return []string{command}
	}
	variables["BUILD_FOLDER"] = literalVariable{Value: b.folder}
	return []string{`export EXPERIMENTAL_BUILDKIT_SOURCE_POLICY="$CI_PROJECT_DIR/$EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"`, `cd "./$BUILD_FOLDER"`, command}
}

func gitLabWorkflow(name string) string { return path.Join(".gitlab", name+".gitlab-ci.yml") }

// includePin includes the component that fetches the lock.
func (b *workflowBuilder) includePin(img *config.Image) (*gitLabInclude, error) {
	from, _, err := b.lockFrom(img.Source)
	if err != nil {
		return nil, err
	}
	inputs := map[string]string{"image": img.Name, "version": b.Release, "job-name": "pin-" + img.Name}
	for key, value := range map[string]string{"repository": from.repository, "ref": from.ref, "path": from.path, "config": from.config, "config-ref": from.configRef} {
		if strings.ContainsAny(value, "$\n\"\\") {
			return nil, fleet.Usagef("%q: an input of the component cannot be %q: it has a quote, a $, a backslash or a line break", img.Name, value)
		}
		if value != "" {
			inputs[key] = value
		}
	}
	return &gitLabInclude{
		Remote: "https://raw.githubusercontent.com/imagefactory/imagefactory/" + cmp.Or(b.Commit, b.Release) + "/templates/pin.yml", Inputs: inputs,
	}, nil
}
