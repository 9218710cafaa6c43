package discover

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

const gitLabFile = ".gitlab-ci.yml"

// gitLabKeys are keys of a GitLab CI configuration that are not jobs.
var gitLabKeys = []string{"default", "include", "stages", "variables", "workflow", "image", "services", "cache", "before_script", "after_script", "spec", "types", "true"}

// gitLabCI is a GitLab CI configuration with what it includes.
type gitLabCI struct {
	scan      *scanner
	jobs      map[string]*yaml.Node
	lines     map[*yaml.Node]string // file of each text
	order     []string
	defaults  *yaml.Node
	variables []yamlnode.Pair
	read      int
}

// gitLab reads the jobs of GitLab CI.
func (s *scanner) gitLab() {
	if s.repo.Provider != config.GitLab || !s.has(gitLabFile) {
		return
	}
	ci := &gitLabCI{scan: s, jobs: map[string]*yaml.Node{}, lines: map[*yaml.Node]string{}}
	ci.file(gitLabFile, 0)
	for _, name := range ci.order {
		if !strings.HasPrefix(name, ".") {
			ci.job(name)
		}
	}
}

// file reads a file and what it includes. Later files override keys of jobs with the same name.
func (ci *gitLabCI) file(name string, depth int) {
	if ci.read++; ci.read > 50 || depth > 5 {
		return
	}
	root := ci.scan.yaml(name)
	if root == nil {
		return
	}
	ci.note(root, name)
	for _, n := range yamlnode.Items(yamlnode.Get(root, "include")) {
		ci.include(name, n, depth)
	}
	for _, p := range yamlnode.Pairs(root) {
		switch key := p.Key.Value; {
		case key == "variables":
			ci.variables = append(ci.variables, yamlnode.Pairs(p.Value)...)
		case key == "default":
			ci.defaults = mergeNodes(ci.defaults, p.Value, 0)
		case key == "before_script":
			ci.defaults = mergeNodes(ci.defaults, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{p.Key, p.Value}}, 0)
		case slices.Contains(gitLabKeys, key) || p.Value.Kind != yaml.MappingNode:
		case len(ci.jobs) < maxJobs*5:
			if ci.jobs[key] == nil {
				ci.order = append(ci.order, key)
			}
			ci.jobs[key] = mergeNodes(ci.jobs[key], p.Value, 0)
		}
	}
}

// note remembers in which file each text is.
func (ci *gitLabCI) note(n *yaml.Node, file string) {
	if n.Kind == yaml.ScalarNode {
		ci.lines[n] = file
	}
	for _, c := range n.Content {
		ci.note(c, file)
	}
}

func (ci *gitLabCI) include(from string, n *yaml.Node, depth int) {
	local := yamlnode.Scalar(n)
	if n.Kind == yaml.MappingNode {
		local = yamlnode.Scalar(yamlnode.Get(n, "local"))
	}
	if local == "" || strings.Contains(local, "://") {
		for _, key := range []string{"project", "remote", "template", "component"} {
			if v := yamlnode.Scalar(yamlnode.Get(n, key)); v != "" {
				ci.scan.problem(Place{from, n.Line}, fmt.Sprintf("includes the %s %s, which is not read", key, v))
			}
		}
		return
	}
	pattern := strings.TrimPrefix(local, "/")
	if !strings.ContainsAny(pattern, "*$") {
		if ci.scan.has(pattern) {
			ci.file(pattern, depth+1)
		}
		return
	}
	pattern = strings.ReplaceAll(pattern, "**", "*")
	for _, f := range ci.scan.tree.Files() {
		if ok, err := path.Match(pattern, f); ok && err == nil {
			ci.file(f, depth+1)
		}
	}
}

// mergeNodes merges mappings as GitLab does: key by key; lists are replaced.
func mergeNodes(a, b *yaml.Node, depth int) *yaml.Node {
	if a == nil || b == nil || a.Kind != yaml.MappingNode || b.Kind != yaml.MappingNode || depth > 10 {
		if b == nil {
			return a
		}
		return b
	}
	out := &yaml.Node{Kind: yaml.MappingNode, Line: b.Line, Column: b.Column}
	for _, p := range yamlnode.Pairs(a) {
		v := p.Value
		if over := yamlnode.Get(b, p.Key.Value); over != nil {
			v = mergeNodes(p.Value, over, depth+1)
		}
		out.Content = append(out.Content, p.Key, v)
	}
	for _, p := range yamlnode.Pairs(b) {
		if yamlnode.Get(a, p.Key.Value) == nil {
			out.Content = append(out.Content, p.Key, p.Value)
		}
	}
	return out
}

// extended returns a job with what it extends.
func (ci *gitLabCI) extended(n *yaml.Node, depth int) *yaml.Node {
	var base *yaml.Node
	for _, from := range yamlnode.Items(yamlnode.Get(n, "extends")) {
		if parent := ci.jobs[yamlnode.Scalar(from)]; parent != nil && depth < 11 { // GitLab's own limit
			base = mergeNodes(base, ci.extended(parent, depth+1), 0)
		}
	}
	return mergeNodes(base, n, 0)
}

func (ci *gitLabCI) job(name string) {
	n := mergeNodes(ci.defaults, ci.extended(ci.jobs[name], 0), 0)
	if yamlnode.At(n, "script") == nil {
		return
	}
	for _, combination := range ci.combinations(yamlnode.At(n, "parallel", "matrix")) {
		vars := ci.predefined()
		for _, p := range slices.Concat(ci.variables, yamlnode.Pairs(yamlnode.Get(n, "variables"))) {
			v := p.Value
			if v.Kind == yaml.MappingNode {
				v = yamlnode.Get(v, "value")
			}
			vars[p.Key.Value] = yamlnode.Scalar(v)
		}
		maps.Copy(vars, combination)
		vars = ci.resolve(vars)
		m := &images{scan: ci.scan, aliases: map[string]string{}, pushed: map[string]bool{}}
		sh := ci.scan.newShell(vars, ".", 0, m.command)
		m.env = func(name string) (string, bool) { v, ok := sh.vars[name]; return v, ok }
		m.sh = sh
		for _, key := range []string{"before_script", "script", "after_script"} {
			ci.commands(m, yamlnode.Get(n, key), 0)
		}
		for _, b := range m.finish() {
			b.job = name
			if yamlnode.Scalar(yamlnode.Get(n, "when")) == "manual" {
				b.guesses = append(b.guesses, "the job is started by hand")
			}
			ci.scan.builds = append(ci.scan.builds, b)
		}
	}
}

// commands runs the lines of a script, and of those that it refers to.
func (ci *gitLabCI) commands(m *images, n *yaml.Node, depth int) {
	if n == nil || depth > 10 {
		return
	}
	if n.Tag == "!reference" && len(n.Content) > 1 {
		to := ci.jobs[n.Content[0].Value]
		for _, key := range n.Content[1:] {
			to = yamlnode.Get(to, key.Value)
		}
		ci.commands(m, to, depth+1)
		return
	}
	for _, item := range yamlnode.Items(n) {
		if item.Kind == yaml.ScalarNode {
			m.file, m.sh.line = ci.lines[item], lineOf(item)-1
			ci.scan.script(m.sh, m.file, item.Value)
			continue
		}
		ci.commands(m, item, depth+1)
	}
}

// combinations returns the variables of each job that a matrix makes.
func (ci *gitLabCI) combinations(n *yaml.Node) []map[string]string {
	var out []map[string]string
	for _, block := range yamlnode.Items(n) {
		all := []map[string]string{{}}
		for _, p := range yamlnode.Pairs(block) {
			var values []string
			for _, v := range yamlnode.Items(p.Value) {
				values = append(values, yamlnode.Scalar(v))
			}
			all = multiplied(all, p.Key.Value, values)
		}
		out = append(out, all...)
	}
	if len(out) == 0 {
		return []map[string]string{{}}
	}
	return out[:min(len(out), maxMatrix)]
}

// Folder in which a job finds the repository.
const projectDir = "/builds/project"

// predefined returns the variables that GitLab sets, for a pipeline of the branch that is started through the API.
func (ci *gitLabCI) predefined() map[string]string {
	r := ci.scan.repo
	vars := map[string]string{"CI": "true", "CI_PROJECT_DIR": projectDir, "CI_PIPELINE_SOURCE": "api", "CI_SERVER_HOST": r.Host, "CI_SERVER_URL": "https://" + r.Host}
	if r.Branch != "" {
		vars["CI_COMMIT_BRANCH"], vars["CI_COMMIT_REF_NAME"], vars["CI_DEFAULT_BRANCH"] = r.Branch, r.Branch, r.Branch
	}
	if !r.remote {
		return vars
	}
	root, _, _ := strings.Cut(r.Name, "/")
	vars["CI_PROJECT_PATH"], vars["CI_PROJECT_NAME"], vars["CI_PROJECT_NAMESPACE"], vars["CI_PROJECT_ROOT_NAMESPACE"] = r.Name, path.Base(r.Name), path.Dir(r.Name), root
	if ci.scan.registry != "" {
		vars["CI_REGISTRY"], vars["CI_REGISTRY_IMAGE"] = ci.scan.registry, ci.scan.registry+"/"+strings.ToLower(r.Name)
	}
	return vars
}

// resolve replaces variables in variables.
func (ci *gitLabCI) resolve(vars map[string]string) map[string]string {
	for range 5 {
		next := map[string]string{}
		for name, v := range vars {
			next[name] = v
			if strings.Contains(v, "$") {
				next[name] = buildfile.Substitute(v, func(ref string) (string, bool) {
					to, ok := vars[ref]
					return to, ok && ref != name
				}, ci.scan.marks.add)
			}
		}
		vars = next
	}
	return vars
}
