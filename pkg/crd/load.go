package crd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// maxFileBytes bounds a file that is read. The largest CRDs in use are about a quarter of it.
const maxFileBytes = 8 << 20

// Set is a set of CustomResourceDefinitions. It is safe for concurrent use.
type Set struct {
	kinds map[schema.GroupKind]*definition
}

// definition is one CustomResourceDefinition.
type definition struct {
	namespaced bool
	preserve   bool // spec.preserveUnknownFields of older CRDs
	versions   map[string]*version
}

type version struct {
	served bool
	schema *structuralschema.Structural
	values validation.SchemaValidator
	rules  *cel.Validator // nil without rules
}

// Load reads every CustomResourceDefinition in the files *.yaml, *.yml and *.json of dir. Files may hold
// several documents; documents of other kinds are ignored. It fails when a file cannot be parsed, when a
// definition is invalid for an API server, when two define the same kind, and when there is none at all.
func Load(dir string) (*Set, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading CRDs: %w", err)
	}
	s := &Set{kinds: map[schema.GroupKind]*definition{}}
	for _, entry := range entries {
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
			continue
		}
		file := filepath.Join(dir, entry.Name())
		if err := s.addFile(file); err != nil {
			return nil, fmt.Errorf("loading CRDs from %q: %w", file, err)
		}
	}
	if len(s.kinds) == 0 {
		return nil, fmt.Errorf("loading CRDs from %q: found no CustomResourceDefinition", dir)
	}
	return s, nil
}

func (s *Set) addFile(file string) error {
	data, err := readBounded(file)
	if err != nil {
		return err
	}
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	for {
		var doc yamlv3.Node
		switch err := decoder.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if !isDefinition(&doc) {
			continue
		}
		if err := s.addDocument(&doc); err != nil {
			return err
		}
	}
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("larger than %d bytes", maxFileBytes)
	}
	return data, nil
}

// isDefinition reports whether the document is a CustomResourceDefinition.
func isDefinition(doc *yamlv3.Node) bool {
	var head struct {
		Kind string `yaml:"kind"`
	}
	return doc.Decode(&head) == nil && head.Kind == "CustomResourceDefinition"
}

func (s *Set) addDocument(doc *yamlv3.Node) error {
	line := doc.Line
	data, err := yamlv3.Marshal(doc)
	if err != nil {
		return fmt.Errorf("reading the document at line %d: %w", line, err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return fmt.Errorf("decoding the CustomResourceDefinition at line %d: %w", line, err)
	}
	if err := s.add(&crd); err != nil {
		return fmt.Errorf("reading CustomResourceDefinition %q at line %d: %w", crd.Name, line, err)
	}
	return nil
}

func (s *Set) add(crd *apiextensionsv1.CustomResourceDefinition) error {
	if want := apiextensionsv1.SchemeGroupVersion.String(); crd.APIVersion != want {
		return fmt.Errorf("unsupported apiVersion %q, not %q", crd.APIVersion, want)
	}
	gk := schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
	if gk.Group == "" || gk.Kind == "" {
		return errors.New("missing spec.group or spec.names.kind")
	}
	if _, ok := s.kinds[gk]; ok {
		return fmt.Errorf("defining %q a second time", gk)
	}
	d := &definition{
		namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		preserve:   crd.Spec.PreserveUnknownFields,
		versions:   map[string]*version{},
	}
	if !d.namespaced && crd.Spec.Scope != apiextensionsv1.ClusterScoped {
		return fmt.Errorf("unsupported spec.scope %q", crd.Spec.Scope)
	}
	if len(crd.Spec.Versions) == 0 {
		return errors.New("missing spec.versions")
	}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		compiled, err := compileVersion(v)
		if err != nil {
			return fmt.Errorf("compiling version %q: %w", v.Name, err)
		}
		d.versions[v.Name] = compiled
	}
	s.kinds[gk] = d
	return nil
}

// compileVersion prepares a schema as the API server does before it serves it. The conversion function is
// called directly: a runtime.Scheme with all types installed would cost more than the rest of the package.
func compileVersion(v *apiextensionsv1.CustomResourceDefinitionVersion) (*version, error) {
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return nil, errors.New("missing schema.openAPIV3Schema")
	}
	var props apiextensions.JSONSchemaProps
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil)
	if err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(&props)
	if err != nil {
		return nil, err
	}
	path := field.NewPath("schema", "openAPIV3Schema")
	if errs := structuralschema.ValidateStructural(path, structural); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	errs, err := defaulting.ValidateDefaults(context.Background(), path, structural, true, true)
	if err != nil {
		return nil, err
	}
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	values, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, err
	}
	if err := compileRules(structural); err != nil {
		return nil, err
	}
	rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	return &version{served: v.Served, schema: structural, values: values, rules: rules}, nil
}

// compileRules finds CEL rules that do not compile: the validator would only report them when it runs them.
func compileRules(root *structuralschema.Structural) error {
	env := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	var broken []error
	visitor := structuralschema.Visitor{Structural: func(node *structuralschema.Structural) bool {
		if len(node.XValidations) == 0 {
			return false
		}
		isRoot := node == root || node.XEmbeddedResource
		results, err := cel.Compile(node, model.SchemaDeclType(node, isRoot), celconfig.PerCallLimit, env, cel.NewExpressionsEnvLoader())
		if err != nil {
			broken = append(broken, err)
		}
		for i, result := range results {
			if result.Error != nil {
				broken = append(broken, fmt.Errorf("compiling rule %q: %w", node.XValidations[i].Rule, result.Error))
			}
		}
		return false
	}}
	visitor.Visit(root)
	return errors.Join(broken...)
}

// gvkOf returns the group, version and kind of an object.
func gvkOf(obj map[string]any) (schema.GroupVersionKind, error) {
	apiVersion, _ := obj["apiVersion"].(string)
	kind, _ := obj["kind"].(string)
	if apiVersion == "" || kind == "" {
		return schema.GroupVersionKind{}, errors.New("missing apiVersion or kind")
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	return gv.WithKind(kind), nil
}
