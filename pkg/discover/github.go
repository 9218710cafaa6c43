package discover

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/internal/yamlnode"
)

const (
	maxMatrix = 256 // GitHub's own limit
	maxJobs   = 200 // of a workflow
	maxUses   = 4   // workflows and actions inside each other
)

// dispatch is the trigger by which imagefactory starts a workflow.
const dispatch = "workflow_dispatch"

// workflowRun is a workflow as it runs when imagefactory starts it.
type workflowRun struct {
	scan      *scanner
	file      string
	top       string // file of the workflow that is started, which may call this one
	contexts  contexts
	env       map[string]string
	depth     int
	startable bool // it has the trigger workflow_dispatch
}

// gitHub reads all workflows.
func (s *scanner) gitHub() {
	for _, file := range s.workflowFiles() {
		root := s.yaml(file)
		if root == nil {
			continue
		}
		on := yamlnode.Get(root, "on")
		if on == nil {
			on = yamlnode.Get(root, "true") // what YAML 1.1 makes of on
		}
		triggers := triggersOf(on)
		if len(triggers) == 1 && triggers[0] == "workflow_call" {
			continue // read where it is called
		}
		w := &workflowRun{scan: s, file: file, top: file, startable: slices.Contains(triggers, dispatch)}
		w.contexts = s.contexts(w.startable)
		inputs := open{}
		for _, p := range yamlnode.Pairs(yamlnode.At(on, dispatch, "inputs")) {
			if d := yamlnode.Get(p.Value, "default"); d != nil {
				inputs[p.Key.Value] = value(d)
			}
		}
		w.contexts = w.contexts.with("inputs", inputs)
		if gh, ok := w.contexts["github"].(open); ok {
			gh["event"].(open)["inputs"] = inputs
		}
		w.run(root)
	}
}

func triggersOf(on *yaml.Node) []string {
	var out []string
	if on != nil && on.Kind == yaml.MappingNode {
		for _, p := range yamlnode.Pairs(on) {
			out = append(out, p.Key.Value)
		}
		return out
	}
	for _, n := range yamlnode.Items(on) {
		out = append(out, yamlnode.Scalar(n))
	}
	return out
}

// yaml reads a YAML file; nil if it is not valid, which is a problem.
func (s *scanner) yaml(file string) *yaml.Node {
	text := s.read(file, maxFileBytes)
	if text == nil {
		return nil
	}
	root, line, err := yamlnode.Parse(text)
	if err != nil {
		s.problem(Place{file, line}, err.Error())
		return nil
	}
	return root
}

// contexts returns the contexts of a workflow that is started for the branch.
func (s *scanner) contexts(startable bool) contexts {
	gh := open{"server_url": "https://" + s.repo.Host, "ref_type": "branch", "workspace": "/github/workspace"}
	event := open{}
	if s.repo.remote {
		owner, name, _ := strings.Cut(s.repo.Name, "/")
		gh["repository"], gh["repository_owner"] = s.repo.Name, owner
		event["repository"] = open{"name": name, "full_name": s.repo.Name, "owner": open{"login": owner}}
	}
	if s.repo.Branch != "" {
		gh["ref"], gh["ref_name"], gh["head_ref"] = "refs/heads/"+s.repo.Branch, s.repo.Branch, ""
		if repo, ok := event["repository"].(open); ok {
			repo["default_branch"] = s.repo.Branch
		}
	}
	gh["event_name"] = "push"
	if startable {
		gh["event_name"] = dispatch
	}
	gh["event"] = event
	return contexts{"github": gh, "runner": open{"os": "Linux"}}
}

// run reads the jobs of a workflow, those first that others need.
func (w *workflowRun) run(root *yaml.Node) {
	w.env = w.environment(yamlnode.Get(root, "env"), nil, w.contexts)
	jobs := yamlnode.Pairs(yamlnode.Get(root, "jobs"))
	if len(jobs) > maxJobs {
		w.scan.problem(Place{w.file, 0}, fmt.Sprintf("%d jobs; %d are read", len(jobs), maxJobs))
		jobs = jobs[:maxJobs]
	}
	needs := open{}
	for done := map[string]bool{}; len(done) < len(jobs); {
		before := len(done)
		for _, j := range jobs {
			if done[j.Key.Value] || slices.ContainsFunc(yamlnode.Items(yamlnode.Get(j.Value, "needs")), func(n *yaml.Node) bool {
				return !done[yamlnode.Scalar(n)] && slices.ContainsFunc(jobs, func(p yamlnode.Pair) bool { return p.Key.Value == yamlnode.Scalar(n) })
			}) {
				continue
			}
			done[j.Key.Value] = true
			needs[j.Key.Value] = open{"outputs": w.job(j, needs), "result": "success"}
		}
		if len(done) == before { // a cycle
			return
		}
	}
}

// environment returns variables with those of a mapping added.
func (w *workflowRun) environment(n *yaml.Node, before map[string]string, c contexts) map[string]string {
	out := maps.Clone(before)
	if out == nil {
		out = map[string]string{}
	}
	vars := anyMap(out) // each variable sees those before it
	c = c.with("env", vars)
	for _, p := range yamlnode.Pairs(n) {
		text := c.text(w.scan.marks, yamlnode.Scalar(p.Value))
		out[p.Key.Value], vars[p.Key.Value] = text, text
	}
	return out
}

func anyMap(m map[string]string) open {
	out := open{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// job reads a job once for each combination of its matrix, and returns its outputs.
func (w *workflowRun) job(j yamlnode.Pair, needs open) open {
	c := w.contexts.with("needs", needs)
	outputs := open{}
	for i, combination := range w.matrix(yamlnode.At(j.Value, "strategy", "matrix"), c) {
		cm := c.with("matrix", combination)
		env := w.environment(yamlnode.Get(j.Value, "env"), w.env, cm)
		cm = cm.with("env", anyMap(env))
		skipped := w.skipped(yamlnode.Get(j.Value, "if"), cm)
		if uses := yamlnode.Get(j.Value, "uses"); uses != nil {
			w.call(j, uses, cm, skipped)
			continue
		}
		r := w.newSteps(cm, env)
		r.skipped = skipped
		r.dir = w.workdir(yamlnode.At(j.Value, "defaults", "run"), cm)
		r.all(yamlnode.Items(yamlnode.Get(j.Value, "steps")), 0)
		r.finish()
		if i > 0 {
			continue
		}
		for _, p := range yamlnode.Pairs(yamlnode.Get(j.Value, "outputs")) {
			if text := r.contexts.text(w.scan.marks, yamlnode.Scalar(p.Value)); known(text) {
				outputs[p.Key.Value] = text
			}
		}
	}
	return outputs
}

// skipped returns the condition because of which something does not run when imagefactory starts the workflow; "" if it runs, or that is
// not known.
func (w *workflowRun) skipped(n *yaml.Node, c contexts) string {
	text := strings.TrimSpace(yamlnode.Scalar(n))
	if text == "" {
		return ""
	}
	expression := strings.TrimSuffix(strings.TrimPrefix(text, "${{"), "}}")
	if v := c.eval(expression); !isUnknown(v) && !truthy(v) {
		return strings.TrimSpace(expression)
	}
	return ""
}

// matrix returns the combinations of a matrix. What is not literal is one combination, whose values are not known.
func (w *workflowRun) matrix(n *yaml.Node, c contexts) []any {
	if n == nil {
		return []any{open{}}
	}
	if n.Kind == yaml.ScalarNode {
		m, ok := c.whole(w.scan.marks, n.Value).(map[string]any)
		if !ok {
			return []any{open{}}
		}
		return combinations(m)
	}
	m := map[string]any{}
	for _, p := range yamlnode.Pairs(n) {
		v := value(p.Value)
		if p.Value.Kind == yaml.ScalarNode {
			if v = c.whole(w.scan.marks, p.Value.Value); isUnknown(v) {
				if p.Key.Value == "include" {
					return []any{open{}}
				}
				continue
			}
		}
		m[p.Key.Value] = resolved(v, c, w.scan.marks)
	}
	return combinations(m)
}

// resolved evaluates the expressions in a value.
func resolved(v any, c contexts, m *marks) any {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "${{") {
			return c.whole(m, v)
		}
	case []any:
		for i := range v {
			v[i] = resolved(v[i], c, m)
		}
	case map[string]any:
		for k := range v {
			v[k] = resolved(v[k], c, m)
		}
	}
	return v
}

// multiplied returns every combination with each value of one more axis, at most maxMatrix.
func multiplied[M ~map[string]V, V any](all []M, key string, values []V) []M {
	var out []M
	for _, c := range all {
		for _, v := range values {
			if len(out) < maxMatrix {
				with := maps.Clone(c)
				with[key] = v
				out = append(out, with)
			}
		}
	}
	return out
}

// combinations multiplies out a matrix: https://docs.github.com/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations.
func combinations(m map[string]any) []any {
	all := []open{{}}
	axes := 0
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values, ok := m[key].([]any)
		if key == "include" || key == "exclude" || !ok {
			continue
		}
		axes++
		all = multiplied(all, key, values)
	}
	if excludes, ok := m["exclude"].([]any); ok {
		all = slices.DeleteFunc(all, func(c open) bool {
			return slices.ContainsFunc(excludes, func(x any) bool { return covers(c, x) })
		})
	}
	if axes == 0 {
		all = nil
	}
	original := len(all)
	includes, _ := m["include"].([]any)
	for _, x := range includes {
		more, ok := x.(map[string]any)
		if !ok {
			continue
		}
		added := false
		for _, c := range all[:original] {
			if fits(c, more, m) {
				maps.Copy(c, more)
				added = true
			}
		}
		if !added && len(all) < maxMatrix {
			all = append(all, open(maps.Clone(more)))
		}
	}
	if len(all) == 0 {
		return []any{open{}}
	}
	out := make([]any, len(all))
	for i, c := range all {
		out[i] = c
	}
	return out
}

// covers reports whether a combination has all values of another.
func covers(c open, x any) bool {
	want, ok := x.(map[string]any)
	if !ok || len(want) == 0 {
		return false
	}
	for k, v := range want {
		if asText(c[k]) != asText(v) {
			return false
		}
	}
	return true
}

// fits reports whether an include can be added to a combination without changing a value of its axes.
func fits(c open, more map[string]any, axes map[string]any) bool {
	for k, v := range more {
		if _, axis := axes[k].([]any); axis && asText(c[k]) != asText(v) {
			return false
		}
	}
	return true
}

// call reads a workflow that a job calls.
func (w *workflowRun) call(j yamlnode.Pair, uses *yaml.Node, c contexts, skipped string) {
	name := yamlnode.Scalar(uses)
	file, local := strings.CutPrefix(name, "./")
	if !local || w.depth >= maxUses {
		if mentionsImage(yamlnode.Get(j.Value, "with")) {
			w.scan.problem(Place{w.file, uses.Line}, fmt.Sprintf("calls the workflow %s of another repository, which is not read", w.scan.marks.show(name)))
		}
		return
	}
	root := w.scan.yaml(file)
	if root == nil {
		return
	}
	inputs := map[string]any{}
	for _, p := range yamlnode.Pairs(yamlnode.At(yamlnode.Get(root, "on"), "workflow_call", "inputs")) {
		inputs[p.Key.Value] = value(yamlnode.Get(p.Value, "default"))
	}
	for _, p := range yamlnode.Pairs(yamlnode.Get(j.Value, "with")) {
		inputs[p.Key.Value] = value(p.Value)
		if p.Value.Kind == yaml.ScalarNode && p.Value.Tag == "!!str" {
			inputs[p.Key.Value] = c.whole(w.scan.marks, p.Value.Value)
		}
	}
	inner := &workflowRun{scan: w.scan, file: file, top: w.top, depth: w.depth + 1, startable: w.startable}
	inner.contexts = contexts{"github": w.contexts["github"], "runner": w.contexts["runner"], "inputs": inputs}
	before := len(w.scan.builds)
	inner.run(root)
	for _, b := range w.scan.builds[before:] {
		b.notes = appendNew(b.notes, fmt.Sprintf("called by %s", Place{w.file, uses.Line}))
		if skipped != "" {
			b.guesses = appendNew(b.guesses, notRun(w.startable, skipped))
		}
	}
}

// mentionsImage reports whether the inputs of a workflow are about an image.
func mentionsImage(with *yaml.Node) bool {
	for _, p := range yamlnode.Pairs(with) {
		key := strings.ToLower(p.Key.Value)
		if strings.Contains(key, "image") || strings.Contains(key, "docker") || strings.Contains(key, "container") {
			return true
		}
	}
	return false
}

func appendNew(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

func notRun(startable bool, condition string) string {
	if !startable {
		return "does not run for a push to the branch (if: " + condition + ")"
	}
	return "does not run when imagefactory starts the workflow (if: " + condition + ")"
}

func (w *workflowRun) workdir(run *yaml.Node, c contexts) string {
	if dir := yamlnode.Scalar(yamlnode.Get(run, "working-directory")); dir != "" {
		return inside(".", c.text(w.scan.marks, dir))
	}
	return "."
}

// steps are the steps of a job.
type steps struct {
	*workflowRun
	images
	contexts contexts
	env      map[string]string
	dir      string
	outputs  open
	skipped  string
}

func (w *workflowRun) newSteps(c contexts, env map[string]string) *steps {
	r := &steps{workflowRun: w, contexts: c, env: maps.Clone(env), dir: ".", outputs: open{}}
	r.images = images{scan: w.scan, file: w.file, aliases: map[string]string{}, pushed: map[string]bool{}}
	r.images.env = func(name string) (string, bool) {
		if v, ok := r.env[name]; ok {
			return v, true
		}
		return r.gitHubVariable(name)
	}
	return r
}

// gitHubVariables are the variables whose values are known, with the keys of the context github.
var gitHubVariables = map[string]string{
	"GITHUB_REPOSITORY": "repository", "GITHUB_REPOSITORY_OWNER": "repository_owner", "GITHUB_REF_NAME": "ref_name", "GITHUB_REF": "ref",
	"GITHUB_SERVER_URL": "server_url", "GITHUB_EVENT_NAME": "event_name", "GITHUB_WORKSPACE": "workspace",
}

func (r *steps) gitHubVariable(name string) (string, bool) {
	github, _ := r.contexts["github"].(open)
	v, ok := github[gitHubVariables[name]].(string)
	return v, ok
}

// refresh sets the contexts that change from step to step.
func (r *steps) refresh() {
	r.contexts = r.contexts.with("env", anyMap(r.env)).with("steps", r.outputs)
}

func (r *steps) all(list []*yaml.Node, depth int) {
	for _, n := range list {
		r.refresh()
		outer := r.env
		r.env = r.environment(yamlnode.Get(n, "env"), outer, r.contexts)
		own := maps.Clone(r.env)
		r.refresh()
		before := len(r.builds)
		r.step(n, depth)
		condition := r.workflowRun.skipped(yamlnode.Get(n, "if"), r.contexts)
		for _, b := range r.builds[before:] {
			if condition != "" {
				b.guesses = appendNew(b.guesses, notRun(r.startable, condition))
			}
		}
		written := map[string]string{} // to the file for variables, during this step
		for k, v := range r.env {
			if before, ok := own[k]; !ok || before != v {
				written[k] = v
			}
		}
		r.env = maps.Clone(outer)
		maps.Copy(r.env, written)
	}
	r.refresh()
}

func (r *steps) step(n *yaml.Node, depth int) {
	id := yamlnode.Scalar(yamlnode.Get(n, "id"))
	if run := yamlnode.Get(n, "run"); run != nil {
		r.script(n, run, id)
		return
	}
	uses := yamlnode.Get(n, "uses")
	name, _, _ := strings.Cut(yamlnode.Scalar(uses), "@")
	with := yamlnode.Get(n, "with")
	in := func(keys ...string) string {
		for _, k := range keys {
			if v := yamlnode.Get(with, k); v != nil {
				return r.contexts.text(r.workflowRun.scan.marks, yamlnode.Scalar(v))
			}
		}
		return ""
	}
	place := Place{r.workflowRun.file, 0}
	if uses != nil {
		place.Line = uses.Line
	}
	switch action := strings.ToLower(name); {
	case strings.HasSuffix(action, "/build-push-action"):
		r.buildPush(place, name, in)
	case action == "docker/metadata-action" || action == "crazy-max/ghaction-docker-meta":
		r.metadata(id, in)
	case action == "docker/bake-action" || action == "depot/bake-action":
		r.bakeAction(place, name, in)
	case action == "redhat-actions/buildah-build":
		r.buildahAction(place, name, in)
	case action == "redhat-actions/push-to-registry":
		r.pushAction(in)
	case strings.HasPrefix(name, "./") && depth < maxUses:
		r.localAction(n, strings.TrimPrefix(name, "./"), id, with, depth)
	}
}

// script reads a step that runs a script.
func (r *steps) script(n, run *yaml.Node, id string) {
	switch shell := yamlnode.Scalar(yamlnode.Get(n, "shell")); {
	case shell == "" || strings.Contains(shell, "sh") && !strings.HasPrefix(shell, "pwsh") && !strings.HasPrefix(shell, "powershell"):
	default:
		return
	}
	s := r.workflowRun.scan
	dir := r.dir
	if d := yamlnode.Scalar(yamlnode.Get(n, "working-directory")); d != "" {
		dir = inside(".", r.contexts.text(s.marks, d))
	}
	vars := maps.Clone(r.env)
	for name := range gitHubVariables {
		if v, ok := r.gitHubVariable(name); ok {
			vars[name] = v
		}
	}
	vars["GITHUB_ENV"], vars["GITHUB_OUTPUT"] = envFile, outputFile
	sh := s.newShell(vars, dir, lineOf(run)-1, r.command)
	r.sh = sh
	text := r.contexts.text(s.marks, yamlnode.Scalar(run))
	s.script(sh, r.workflowRun.file, text)
	outputs := open{}
	for name, v := range sh.vars {
		if key, ok := strings.CutPrefix(name, outputFile+" "); ok && known(v) {
			outputs[key] = v
		}
		if key, ok := strings.CutPrefix(name, envFile+" "); ok {
			r.env[key] = v
		}
	}
	if id != "" {
		r.outputs[id] = open{"outputs": outputs}
	}
}

// buildPush reads docker/build-push-action and actions with the same inputs.
func (r *steps) buildPush(place Place, name string, in func(...string) string) {
	b := &build{by: name, place: place, target: in("target")}
	context, file := in("context"), in("file")
	sub := "."
	if rest, ok := strings.CutPrefix(context, defaultContext); ok { // git: the Dockerfile is inside of the context
		context = strings.TrimPrefix(rest, ":")
		sub, context = inside(".", context), ""
		if sub == "" {
			sub = "."
		}
	}
	b.locate(sub, orDot(context), file)
	env := func(name string) (string, bool) { v, ok := r.env[name]; return v, ok }
	b.args = assignments(lines(in("build-args")), env)
	b.contexts = assignments(lines(in("build-contexts")), env)
	b.platforms = list(in("platforms"))
	b.tags = list(in("tags"))
	pushes, names := exporter(lines(in("outputs")))
	b.tags = append(b.tags, names...)
	push := in("push")
	b.pushes = pushes || strings.EqualFold(strings.TrimSpace(push), "true")
	switch {
	case !known(push):
		b.pushes = true
		b.guesses = append(b.guesses, "it pushes if "+r.workflowRun.scan.marks.show(push))
	case strings.EqualFold(push, "false") && !pushes:
		b.notes = append(b.notes, "does not push when imagefactory starts the workflow")
	}
	r.builds = append(r.builds, b)
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

func lines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// metadata gives a step the outputs of docker/metadata-action: its images, with tags that are not known.
func (r *steps) metadata(id string, in func(...string) string) {
	var tags []string
	for _, item := range lines(in("images")) {
		name := item
		fields := splitCSV(item)
		for _, f := range fields {
			if v, ok := strings.CutPrefix(f, "name="); ok {
				name = v
			}
			if f == "enable=false" {
				name = ""
			}
		}
		if len(fields) > 1 && !strings.Contains(item, "=") { // a list in one line
			tags = append(tags, fields...)
			continue
		}
		if name != "" {
			tags = append(tags, name)
		}
	}
	if id == "" {
		return
	}
	mark := r.workflowRun.scan.marks.add("${{ steps." + id + ".outputs.version }}")
	for i, name := range tags {
		tags[i] = strings.ToLower(nameOf(name)) + ":" + mark
	}
	r.outputs[id] = open{"outputs": open{"tags": metadataTags(strings.Join(tags, "\n"))}}
}

// metadataTags is the output tags of docker/metadata-action. Its tags are marks, but it is known which images there are.
type metadataTags string

// buildahAction reads redhat-actions/buildah-build, which does not push.
func (r *steps) buildahAction(place Place, name string, in func(...string) string) {
	b := &build{by: name, place: place, platforms: list(in("platforms", "archs"))}
	b.locate(".", orDot(in("context")), strings.TrimSpace(in("containerfiles", "dockerfiles")))
	b.args = assignments(lines(in("build-args")), r.images.env)
	b.tags = tagged(in("image"), in("tags"))
	r.builds = append(r.builds, b)
}

// pushAction reads redhat-actions/push-to-registry.
func (r *steps) pushAction(in func(...string) string) {
	registry := strings.TrimSuffix(in("registry"), "/")
	for _, local := range tagged(in("image"), in("tags")) {
		to := local
		if registry != "" {
			to = registry + "/" + local
		}
		r.aliases[to] = local
		r.pushed[to] = true
	}
}

// tagged returns the references of an image with tags, which may be whole references themselves.
func tagged(image, tags string) []string {
	var out []string
	for _, t := range strings.Fields(tags) {
		if image != "" && !strings.Contains(t, "/") {
			t = image + ":" + t
		}
		out = append(out, t)
	}
	if len(out) == 0 && image != "" {
		out = []string{image}
	}
	return out
}

// localAction reads the steps of an action in the repository.
func (r *steps) localAction(n *yaml.Node, dir, id string, with *yaml.Node, depth int) {
	s := r.workflowRun.scan
	file := path.Join(dir, "action.yml")
	if !s.has(file) {
		file = path.Join(dir, "action.yaml")
	}
	if !s.has(file) {
		return
	}
	root := s.yaml(file)
	if root == nil {
		return
	}
	inputs := map[string]any{}
	for _, p := range yamlnode.Pairs(yamlnode.Get(root, "inputs")) {
		inputs[p.Key.Value] = value(yamlnode.Get(p.Value, "default"))
	}
	for _, p := range yamlnode.Pairs(with) {
		inputs[p.Key.Value] = r.contexts.text(s.marks, yamlnode.Scalar(p.Value))
	}
	outer := *r
	workflow := *r.workflowRun
	workflow.file = file
	r.workflowRun, r.images.file, r.dir = &workflow, file, "."
	r.contexts = r.contexts.with("inputs", inputs)
	r.outputs = open{}
	before := len(r.builds)
	r.all(yamlnode.Items(yamlnode.At(root, "runs", "steps")), depth+1)
	outputs := open{}
	for _, p := range yamlnode.Pairs(yamlnode.Get(root, "outputs")) {
		if text := r.contexts.text(s.marks, yamlnode.Scalar(yamlnode.Get(p.Value, "value"))); known(text) {
			outputs[p.Key.Value] = text
		}
	}
	for _, b := range r.builds[before:] {
		b.notes = appendNew(b.notes, fmt.Sprintf("called by %s", Place{outer.workflowRun.file, lineOf(yamlnode.Get(n, "uses"))}))
	}
	r.workflowRun, r.images.file, r.dir, r.contexts, r.outputs = outer.workflowRun, outer.images.file, outer.dir, outer.contexts, outer.outputs
	if id != "" {
		r.outputs[id] = open{"outputs": outputs}
	}
}

// finish adds the builds of the job.
func (r *steps) finish() {
	for _, b := range r.images.finish() {
		b.workflow = path.Base(r.top)
		if r.skipped != "" {
			b.guesses = appendNew(b.guesses, notRun(r.startable, r.skipped))
		}
		if !r.startable {
			b.notes = appendNew(b.notes, "add the trigger workflow_dispatch to "+r.top+", so that imagefactory can start it")
		}
		r.workflowRun.scan.builds = append(r.workflowRun.scan.builds, b)
	}
}
