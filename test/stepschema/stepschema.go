// Package stepschema validates the configs of promotion steps, which Kargo's CRDs leave open, by the JSON schema of each
// step. Only tests need it: they check the output of synth, and the schema library stays out of the binary. Package crd checks
// the objects around the steps.
package stepschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

const (
	// schemaBase is where schemas live for references between them; nothing is read from there.
	schemaBase = "steps:///"
	// configSuffix follows the name of a step in the name of its schema file.
	configSuffix = "-config.json"
)

// Schemas are the JSON schemas of promotion-step configs. It is safe for concurrent use.
type Schemas struct {
	byStep map[string]*jsonschema.Schema
}

// Load reads every *.json file of dir as a JSON schema, and those named STEP-config.json as the
// one of that step; the others are for references between files. Nothing outside dir is ever read. It fails
// if a file is not a valid schema, or none is for a step.
func Load(dir string) (*Schemas, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading step schemas: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".json" {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // without schemes, it loads nothing
	for _, file := range files {
		if err := addSchema(compiler, file); err != nil {
			return nil, fmt.Errorf("loading step schema %q: %w", file, err)
		}
	}
	s := &Schemas{byStep: map[string]*jsonschema.Schema{}}
	for _, file := range files {
		step, ok := strings.CutSuffix(filepath.Base(file), configSuffix)
		if !ok {
			continue
		}
		compiled, err := compiler.Compile(schemaBase + filepath.Base(file))
		if err != nil {
			return nil, fmt.Errorf("compiling step schema %q: %w", file, err)
		}
		s.byStep[step] = compiled
	}
	if len(s.byStep) == 0 {
		return nil, fmt.Errorf("loading step schemas from %q: found no *%s", dir, configSuffix)
	}
	return s, nil
}

func addSchema(compiler *jsonschema.Compiler, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	allowExpressions(doc)
	return compiler.AddResource(schemaBase+filepath.Base(file), doc)
}

// expression is the pattern of a string that is evaluated before a step sees it.
const expression = `\$\{\{[\s\S]*\}\}`

// allowExpressions changes a schema so that a string with an expression in it only has to be a string: its value is not known yet.
func allowExpressions(node any) {
	switch node := node.(type) {
	case []any:
		for _, v := range node {
			allowExpressions(v)
		}
	case map[string]any:
		for _, v := range node {
			allowExpressions(v)
		}
		exemptExpressions(node)
	}
}

func exemptExpressions(node map[string]any) {
	constraints := map[string]any{}
	for keyword, v := range node {
		if constrainsStrings(keyword, v) {
			constraints[keyword] = v
			delete(node, keyword)
		}
	}
	if len(constraints) == 0 {
		return
	}
	all, _ := node["allOf"].([]any)
	node["allOf"] = append(all, map[string]any{
		"if":   map[string]any{"type": "string", "pattern": expression},
		"then": true,
		"else": constraints,
	})
}

// constrainsStrings reports whether v is the value of a schema keyword that limits strings. A property may have
// the name of a keyword; its value is a schema then, and has another type. An enum without any text, which
// schemas use for "must not be given", limits presence and is not such a keyword.
func constrainsStrings(keyword string, v any) bool {
	switch keyword {
	case "pattern", "format":
		_, ok := v.(string)
		return ok
	case "minLength", "maxLength":
		_, ok := v.(json.Number)
		return ok
	case "const":
		s, ok := v.(string)
		return ok && s != ""
	case "enum":
		values, _ := v.([]any)
		for _, v := range values {
			if s, ok := v.(string); ok && s != "" {
				return true
			}
		}
	}
	return false
}

// Validate checks the config of each promotion step in a Stage, PromotionTask, ClusterPromotionTask or
// Promotion; other kinds have no steps. A step that uses something no schema is known for is a problem; a
// step that calls a task has no config to check. A value with an expression in it is valid wherever a
// string is. Problems are sorted, each as "PATH: MESSAGE".
func (s *Schemas) Validate(obj map[string]any) []string {
	path := stepsPath(obj)
	if path == nil {
		return nil
	}
	var node any = obj
	for _, name := range path {
		m, _ := node.(map[string]any)
		node = m[name]
	}
	steps, _ := node.([]any)
	var problems []string
	for i, step := range steps {
		if step, ok := step.(map[string]any); ok {
			problems = append(problems, s.validateStep(append(path, strconv.Itoa(i)), step)...)
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

// stepsPath is where objects of a kind have their promotion steps.
func stepsPath(obj map[string]any) []string {
	switch obj["kind"] {
	case "Stage":
		return []string{"spec", "promotionTemplate", "spec", "steps"}
	case "PromotionTask", "ClusterPromotionTask", "Promotion":
		return []string{"spec", "steps"}
	}
	return nil
}

func (s *Schemas) validateStep(path []string, step map[string]any) []string {
	uses, _ := step["uses"].(string)
	if uses == "" {
		return nil // calls a task; that one of the two is given is for the CRD to say
	}
	schema, ok := s.byStep[uses]
	if !ok {
		return []string{fmt.Sprintf("%s: unknown step %q", joinPath(append(path, "uses")), uses)}
	}
	path = append(path, "config")
	config, err := normalize(step["config"])
	if err != nil {
		return []string{fmt.Sprintf("%s: encoding as JSON: %v", joinPath(path), err)}
	}
	var invalid *jsonschema.ValidationError
	if errors.As(schema.Validate(config), &invalid) {
		return causes(path, invalid)
	}
	return nil
}

// normalize gives v the types that JSON decoding makes. A missing config is an empty one.
func normalize(v any) (any, error) {
	if v == nil {
		return map[string]any{}, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(data))
}

// causes gives a problem per innermost error. Of alternatives none of which fits, it gives one problem that names what
// each of them misses.
func causes(path []string, err *jsonschema.ValidationError) []string {
	alternatives := false
	switch err.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		alternatives = true
	}
	if alternatives || len(err.Causes) == 0 {
		return []string{joinPath(append(path[:len(path):len(path)], err.InstanceLocation...)) + ": " + describe(err)}
	}
	var problems []string
	for _, cause := range err.Causes {
		problems = append(problems, causes(path, cause)...)
	}
	return problems
}

func describe(err *jsonschema.ValidationError) string {
	text := err.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	var leaves []string
	for _, leaf := range leavesOf(err.Causes) {
		leaves = append(leaves, leaf.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	}
	if len(leaves) == 0 {
		return text
	}
	return text + ": " + strings.Join(leaves, "; ")
}

func leavesOf(errs []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	var leaves []*jsonschema.ValidationError
	for _, err := range errs {
		if len(err.Causes) == 0 {
			leaves = append(leaves, err)
			continue
		}
		leaves = append(leaves, leavesOf(err.Causes)...)
	}
	return leaves
}

// joinPath writes a path the way Kubernetes does. A step of digits is taken for an index.
func joinPath(steps []string) string {
	var b strings.Builder
	for _, step := range steps {
		if _, err := strconv.Atoi(step); err == nil {
			b.WriteString("[" + step + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(step)
	}
	return b.String()
}
