package buildrunner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// inputs are the inputs of an action, and which of them it has read.
type inputs struct {
	values map[string]string
	read   map[string]bool
}

func (in inputs) get(name string) string {
	in.read[name] = true
	return in.values[name]
}

// lines returns the lines of an input that are not empty.
func (in inputs) lines(name string) []string {
	return strings.FieldsFunc(in.get(name), func(r rune) bool { return r == '\n' })
}

// unread returns an error if there is an input that the action has not read.
func (in inputs) unread() error {
	for name := range in.values {
		if !in.read[name] {
			return fmt.Errorf("unknown input %q", name)
		}
	}
	return nil
}

// exec runs a program in the workspace.
func (j *job) exec(ctx context.Context, env []string, program string, args ...string) error {
	return j.execIn(ctx, ".", env, program, args...)
}

// execIn runs a program in a folder of the workspace.
func (j *job) execIn(ctx context.Context, folder string, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = filepath.Join(j.workspace, folder), slices.Concat(j.environ, env)
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, j.Log)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, &out)
	}
	return nil
}

// checkout is actions/checkout: it checks out the commit of the task, or the branch ref.
func (j *job) checkout(ctx context.Context, in inputs) error {
	keep := in.get("persist-credentials")
	if !slices.Contains([]string{"", "true", "false"}, keep) {
		return fmt.Errorf("invalid input persist-credentials %q", keep)
	}
	c := &j.task.Context
	key := "http." + c.ServerURL + ".extraHeader"
	fetch, target := []string{"fetch", "--quiet", "--no-tags"}, []string{"--detach", c.SHA}
	wanted := c.SHA
	if branch := in.get("ref"); branch != "" {
		remote := "refs/remotes/origin/" + branch
		wanted, target = "+refs/heads/"+branch+":"+remote, []string{"-B", branch, remote}
	}
	if depth := cmp.Or(in.get("fetch-depth"), "1"); depth == "0" { // the history of all branches
		fetch = append(fetch, "origin", "+refs/heads/*:refs/remotes/origin/*", wanted)
	} else {
		fetch = append(fetch, "--depth="+depth, "origin", wanted)
	}
	commands := [][]string{
		{"init", "--quiet"},
		{"remote", "add", "origin", strings.TrimSuffix(c.ServerURL, "/") + "/" + c.Repository},
		{"config", "--local", key, "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+c.Token))},
		fetch,
		append([]string{"checkout", "--quiet"}, target...),
	}
	if keep == "false" {
		commands = append(commands, []string{"config", "--local", "--unset", key})
	}
	for _, args := range commands {
		if err := j.exec(ctx, nil, "git", args...); err != nil {
			return err
		}
	}
	return nil
}

// setupQEMU is docker/setup-qemu-action. Images of the tests have the same programs on all platforms, so nothing is emulated.
func (*job) setupQEMU(context.Context, inputs) error { return nil }

// setupBuildx is docker/setup-buildx-action.
func (j *job) setupBuildx(ctx context.Context, _ inputs) error {
	return j.exec(ctx, nil, j.docker(), "buildx", "create", "--use", "--name", "builder", "--driver", "remote", j.Parts.BuildKit.Address)
}

func (j *job) docker() string { return filepath.Join(j.dir, "bin", "docker") }

// login is docker/login-action.
func (j *job) login(_ context.Context, in inputs) error {
	registry, user, password := in.get("registry"), in.get("username"), in.get("password")
	if registry == "" || user == "" || password == "" {
		return fmt.Errorf("the inputs registry, username and password are required")
	}
	config, err := json.Marshal(map[string]any{"auths": map[string]any{
		registry: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))},
	}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.dir, "docker", "config.json"), config, 0o600)
}

// buildPush is docker/build-push-action, which names the run as the builder in the provenance.
func (j *job) buildPush(ctx context.Context, in inputs) error {
	if in.get("context") == "" || in.get("push") != "true" || in.get("provenance") == "" {
		return fmt.Errorf("only builds of a context that are pushed, with provenance, are known")
	}
	args := []string{"buildx", "build", "--progress", "plain", "--push", "--attest", "type=provenance," + j.provenance(in)}
	for flag, name := range map[string]string{"--file": "file", "--target": "target", "--platform": "platforms"} {
		if value := in.get(name); value != "" {
			args = append(args, flag, value)
		}
	}
	for flag, name := range map[string]string{"--tag": "tags", "--build-arg": "build-args", "--build-context": "build-contexts"} {
		for _, value := range in.lines(name) {
			args = append(args, flag, value)
		}
	}
	return j.exec(ctx, nil, j.docker(), append(args, in.get("context"))...)
}

// provenance returns the attributes of the provenance, with the run as the builder.
func (j *job) provenance(in inputs) string {
	c := &j.task.Context
	return fmt.Sprintf("%s,builder-id=%s/%s/actions/runs/%s", in.get("provenance"), strings.TrimSuffix(c.ServerURL, "/"), c.Repository, c.RunID)
}

// bake is docker/bake-action with a folder of the workspace, which allows what the file asks of the file system.
func (j *job) bake(ctx context.Context, in inputs, variables map[string]string) error {
	source := in.get("source")
	if source != "." && !strings.HasPrefix(source, "./") || in.get("push") != "true" || in.get("provenance") == "" {
		return fmt.Errorf("only builds in a folder that are pushed, with provenance, are known")
	}
	args := []string{"buildx", "bake", "--progress", "plain", "--allow", "fs=*", "--push", "--provenance", j.provenance(in)}
	for _, file := range in.lines("files") {
		args = append(args, "--file", file)
	}
	for _, override := range in.lines("set") {
		args = append(args, "--set", override)
	}
	return j.execIn(ctx, source, assignments(variables), j.docker(), append(args, in.lines("targets")...)...)
}

// composite runs the steps of an action of imagefactory.
func (j *job) composite(ctx context.Context, name, ref, id string, in inputs) error {
	folder, err := filepath.Abs(filepath.Join(j.Source, name))
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(folder, "action.yml"))
	if err != nil {
		return err
	}
	var action struct {
		Inputs map[string]struct {
			Default  string `json:"default"`
			Required bool   `json:"required"`
		} `json:"inputs"`
		Outputs map[string]struct {
			Value string `json:"value"`
		} `json:"outputs"`
		Runs struct {
			Using string `json:"using"`
			Steps []step `json:"steps"`
		} `json:"runs"`
	}
	if err := yaml.Unmarshal(data, &action); err != nil {
		return fmt.Errorf("reading action.yml: %w", err)
	}
	v := values{"github.action_ref": ref}
	for key, value := range j.values {
		if strings.HasPrefix(key, "github.") && key != "github.action_ref" {
			v[key] = value
		}
	}
	for key, def := range action.Inputs {
		value, given := in.values[key]
		in.read[key] = true
		switch {
		case given:
			v["inputs."+key] = value
		case def.Required:
			return fmt.Errorf("input %q is required", key)
		default:
			v["inputs."+key] = def.Default
		}
	}
	if err := in.unread(); err != nil {
		return err
	}
	if err := j.steps(ctx, v, action.Runs.Steps, folder); err != nil {
		return err
	}
	if id == "" { // nobody can read the outputs
		return nil
	}
	for key, output := range action.Outputs {
		if j.values["steps."+id+".outputs."+key], err = v.expand(output.Value); err != nil {
			return err
		}
	}
	return nil
}

// script runs the commands of a step, and takes over the variables, outputs and folders of PATH that they write.
func (j *job) script(ctx context.Context, v values, s step, actionPath string) error {
	if s.Shell != "" && s.Shell != "bash" {
		return fmt.Errorf("unknown shell %q", s.Shell)
	}
	variables := assignments(s.Env)
	files := map[string]string{}
	for _, name := range []string{"ENV", "OUTPUT", "PATH"} {
		files[name] = filepath.Join(j.dir, "temp", "written-"+strings.ToLower(name))
		if err := os.WriteFile(files[name], nil, 0o600); err != nil {
			return err
		}
		variables = append(variables, "GITHUB_"+name+"="+files[name])
	}
	if actionPath != "" {
		variables = append(variables, "GITHUB_ACTION_PATH="+actionPath)
	}
	if err := j.execIn(ctx, s.Folder, variables, "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", s.Run); err != nil {
		return err
	}
	return j.takeOver(v, s.ID, files)
}

// takeOver reads the files that a step has written for later ones.
func (j *job) takeOver(v values, id string, files map[string]string) error {
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSuffix(line, "\n")
			if name == "PATH" {
				j.environ = append(j.environ, "PATH="+line+":"+j.path())
				continue
			}
			key, value, found := strings.Cut(line, "=")
			switch {
			case !found || strings.Contains(key, "<<"):
				return fmt.Errorf("unknown line %q in GITHUB_%s", line, name)
			case name == "ENV":
				j.environ = append(j.environ, line)
			default:
				v["steps."+id+".outputs."+key] = value
			}
		}
	}
	return nil
}

// path returns the PATH of the next step.
func (j *job) path() string {
	path := ""
	for _, variable := range j.environ {
		if value, found := strings.CutPrefix(variable, "PATH="); found {
			path = value
		}
	}
	return path
}
