package kargo

// What Kargo does with a Stage and a PromotionTask, as far as the objects of this package rely on it: templates are
// evaluated with expr-lang, a task's steps get the variables of task and Stage, and the steps fail and http run.

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/stretchr/testify/require"
)

// evaluate evaluates a template: texts around expressions stay, the result is turned into what it looks like unless it
// stands in double quotes, which are stripped.
func evaluate(template string, env map[string]any, options ...expr.Option) (any, error) {
	if !strings.Contains(template, "${{") && !strings.Contains(template, "${%") {
		return template, nil
	}
	options = append(slices.Clone(options), expr.Function("quote", quote, new(func(any) string)))
	var out strings.Builder
	for rest := template; ; {
		open, end := strings.Index(rest, "${{"), "}}"
		if other := strings.Index(rest, "${%"); open < 0 || other >= 0 && other < open {
			open, end = other, "%}"
		}
		if open < 0 {
			out.WriteString(rest)
			break
		}
		out.WriteString(rest[:open])
		rest = rest[open+3:]
		stop := strings.Index(rest, end)
		if stop < 0 {
			return nil, fmt.Errorf("no end of expression in %q", template)
		}
		s, err := evaluateOne(rest[:stop], env, options)
		if err != nil {
			return nil, err
		}
		out.WriteString(s)
		rest = rest[stop+2:]
	}
	return retype(out.String()), nil
}

func evaluateOne(expression string, env map[string]any, options []expr.Option) (string, error) {
	program, err := expr.Compile(expression, options...)
	if err != nil {
		return "", fmt.Errorf("compiling %q: %w", expression, err)
	}
	result, err := expr.Run(program, env)
	if err != nil {
		return "", fmt.Errorf("running %q: %w", expression, err)
	}
	if s, ok := result.(string); ok {
		return s, nil
	}
	data, err := json.Marshal(result)
	return string(data), err
}

func retype(s string) any {
	cut, newline := strings.CutSuffix(s, "\n")
	end := ""
	if newline {
		end = "\n"
	}
	if len(cut) > 1 && cut[0] == '"' && cut[len(cut)-1] == '"' {
		return cut[1:len(cut)-1] + end
	}
	if f, err := strconv.ParseFloat(cut, 64); err == nil {
		return f
	}
	if b, err := strconv.ParseBool(cut); err == nil {
		return b
	}
	var v any
	if json.Unmarshal([]byte(cut), &v) == nil {
		return v
	}
	return s
}

func quote(args ...any) (any, error) {
	if s, ok := args[0].(string); ok {
		return strconv.Quote(s), nil
	}
	data, err := json.Marshal(args[0])
	return `"` + string(data) + `"`, err
}

// freightImage and freightOrigin have the fields that Kargo's types have.
type (
	freightImage  struct{ RepoURL, Tag, Digest string }
	freightOrigin struct{ Kind, Name string }
)

// freight is what a Promotion carries.
type freight struct {
	warehouse string
	image     freightImage
}

// functions are those that Kargo offers in promotions and in arguments of verifications.
func functions(f freight, secrets map[string]map[string]string) []expr.Option {
	return []expr.Option{
		expr.Function("warehouse", func(args ...any) (any, error) { return freightOrigin{"Warehouse", args[0].(string)}, nil }, new(func(string) freightOrigin)),
		expr.Function("imageFrom", func(args ...any) (any, error) {
			if len(args) == 2 && args[1].(freightOrigin).Name == f.warehouse && args[0] == f.image.RepoURL {
				return &f.image, nil
			}
			return (*freightImage)(nil), nil
		}, new(func(string, freightOrigin) freightImage), new(func(string) freightImage)),
		expr.Function("secret", func(args ...any) (any, error) { return secrets[args[0].(string)], nil }, new(func(string) map[string]string)),
	}
}

type request struct {
	method, url, body string
	header            map[string]string
}

type answer struct {
	status int
	body   any // a string is no JSON
}

// forge answers the requests of a Promotion.
type forge func(request) answer

// promotion runs a Promotion of Freight to a rebuild Stage.
type promotion struct {
	t       *testing.T
	objects []Object
	stage   string
	freight freight
	secrets map[string]map[string]string
	forge   forge

	outputs  map[string]any // by alias; survive a restart
	requests []request
	status   map[string]string
	message  string
}

func find[T Object](t require.TestingT, objects []Object, name string) T {
	for _, o := range objects {
		if typed, ok := o.(T); ok && o.Name() == name {
			return typed
		}
	}
	var none T
	require.Fail(t, "no such object", "%T %s", none, name)
	return none
}

const maxAttempts = 5

// run runs the steps from the first, as after a restart of the controller too, and reports whether all succeeded.
func (p *promotion) run() bool {
	step := find[*Stage](p.t, p.objects, p.stage).Spec.PromotionTemplate.Spec.Steps[0]
	require.Equal(p.t, TaskAlias, step.As)
	task := find[*PromotionTask](p.t, p.objects, step.Task.Name)
	if p.outputs == nil {
		p.outputs = map[string]any{}
	}
	p.status = map[string]string{}
	failed := false
	for _, s := range task.Spec.Steps {
		env := p.env(task, step.Vars)
		options := functions(p.freight, p.secrets)
		options = append(options, expr.Function("success", func(...any) (any, error) { return !failed, nil }, new(func() bool)))
		run := any(!failed)
		if s.If != "" {
			var err error
			run, err = evaluate(s.If, env, options...)
			require.NoError(p.t, err)
		}
		require.IsType(p.t, true, run, s.If)
		if run == false {
			p.status[s.As] = "Skipped"
			continue
		}
		p.status[s.As] = p.runStep(s, env, options)
		failed = failed || p.status[s.As] != "Succeeded"
	}
	return !failed
}

func (p *promotion) env(task *PromotionTask, stageVars []Var) map[string]any {
	vars := map[string]any{}
	env := map[string]any{
		"vars": vars,
		"task": map[string]any{"outputs": p.outputs},
		"ctx": map[string]any{
			"promotion": "the-promotion", "project": "the-project", "stage": p.stage,
			"targetFreight": map[string]any{"name": "the-freight", "origin": map[string]any{"name": p.freight.warehouse}},
		},
	}
	given := map[string]bool{}
	for _, v := range stageVars {
		require.NotEmpty(p.t, v.Value, v.Name)
		given[v.Name] = true
	}
	for _, v := range task.Spec.Vars {
		require.True(p.t, v.Value != "" || given[v.Name], "no value for %q", v.Name)
	}
	for _, v := range slices.Concat(task.Spec.Vars, stageVars) {
		if v.Value == "" {
			continue
		}
		got, err := evaluate(v.Value, env, functions(p.freight, p.secrets)...)
		require.NoError(p.t, err)
		vars[v.Name] = got
	}
	return env
}

func (p *promotion) runStep(s Step, env map[string]any, options []expr.Option) string {
	data, err := json.Marshal(s.Config)
	require.NoError(p.t, err)
	var config map[string]any
	require.NoError(p.t, json.Unmarshal(data, &config))
	evaluated, err := evaluateAll(config, env, options)
	require.NoError(p.t, err)
	config = evaluated.(map[string]any)
	if s.Uses == "fail" {
		p.message = config["message"].(string)
		return "Failed"
	}
	if s.Uses == "compose-output" {
		p.outputs[s.As] = config
		return "Succeeded"
	}
	require.Equal(p.t, "http", s.Uses)
	require.NotNil(p.t, s.Retry)
	for range maxAttempts {
		if status := p.attempt(s.As, config); status != "Running" {
			return status
		}
	}
	return "Running"
}

func evaluateAll(v any, env map[string]any, options []expr.Option) (any, error) {
	switch v := v.(type) {
	case string:
		return evaluate(v, env, options...)
	case []any:
		for i := range v {
			var err error
			if v[i], err = evaluateAll(v[i], env, options); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			var err error
			if v[k], err = evaluateAll(v[k], env, options); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// attempt is one request of the step http.
func (p *promotion) attempt(alias string, config map[string]any) string {
	req := request{method: config["method"].(string), url: config["url"].(string), header: map[string]string{}}
	_, err := url.Parse(req.url)
	require.NoError(p.t, err)
	for _, h := range config["headers"].([]any) {
		h := h.(map[string]any)
		req.header[h["name"].(string)] = h["value"].(string)
	}
	if body, ok := config["body"]; ok {
		req.body = body.(string)
		require.True(p.t, json.Valid([]byte(req.body)), req.body)
	}
	p.requests = append(p.requests, req)
	got := p.forge(req)
	response := map[string]any{"status": int64(got.status), "body": map[string]any{}}
	if got.body != nil {
		data, err := json.Marshal(got.body)
		require.NoError(p.t, err)
		var parsed any
		require.NoError(p.t, json.Unmarshal(data, &parsed))
		response["body"] = parsed
	}
	env := map[string]any{"response": response}
	if p.expression(config["failureExpression"], env) == true {
		if program, err := expr.Compile(config["errorExpression"].(string)); err != nil {
			require.NoError(p.t, err)
		} else if message, err := expr.Run(program, env); err == nil {
			p.message, _ = message.(string)
		}
		return "Failed"
	}
	if p.expression(config["successExpression"], env) != true {
		return "Running"
	}
	outputs := map[string]any{}
	if list, ok := config["outputs"].([]any); ok {
		for _, o := range list {
			o := o.(map[string]any)
			outputs[o["name"].(string)] = p.expression(o["fromExpression"], env)
		}
	}
	p.outputs[alias] = outputs
	return "Succeeded"
}

func (p *promotion) expression(text any, env map[string]any) any {
	program, err := expr.Compile(text.(string))
	require.NoError(p.t, err, text)
	got, err := expr.Run(program, env)
	require.NoError(p.t, err, text)
	return got
}

func (p *promotion) sent(method string) []request {
	var out []request
	for _, r := range p.requests {
		if r.method == method {
			out = append(out, r)
		}
	}
	return out
}

func keysOf(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
