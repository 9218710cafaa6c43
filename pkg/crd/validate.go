package crd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// maxObjectBytes bounds an object as JSON: an API server accepts no larger request.
const maxObjectBytes = 3 << 20

// Validate checks one object, decoded from YAML or JSON, as an API server would on creation. It does not
// change obj. known is false when no CRD of the set, and no supported built-in kind, has its group and kind.
// Problems are sorted by path; an object without any is valid.
func (s *Set) Validate(obj map[string]any) (problems []Problem, known bool) {
	r := newReport(obj)
	gvk, err := gvkOf(obj)
	if err != nil {
		r.add("", err.Error())
		return r.sorted(), false
	}
	d, isCustom := s.kinds[gvk.GroupKind()]
	b, isBuiltin := builtinOf(gvk.GroupKind())
	if !isCustom && !isBuiltin {
		return nil, false
	}
	data, err := json.Marshal(obj)
	switch {
	case err != nil:
		r.add("", fmt.Sprintf("encoding as JSON: %v", trimJSON(err)))
	case len(data) > maxObjectBytes:
		r.add("", fmt.Sprintf("larger than %d bytes", maxObjectBytes))
	case isCustom:
		d.validate(r, gvk.Version, data)
	default:
		b.validate(r, gvk.Version, data)
	}
	return r.sorted(), true
}

func (d *definition) validate(r *report, versionName string, data []byte) {
	v, ok := d.versions[versionName]
	if !ok || !v.served {
		r.add("apiVersion", fmt.Sprintf("version %q is not served; served are: %s", versionName, d.servedVersions()))
		return
	}
	// Decoding again makes a copy to set defaults in, with whole numbers as integers.
	var obj map[string]any
	if err := utiljson.Unmarshal(data, &obj); err != nil {
		r.add("", trimJSON(err))
		return
	}
	meta, err := d.coerce(r, v, obj)
	if err != nil {
		r.add("metadata", trimJSON(err))
		return
	}
	defaulting.Default(obj, v.schema)
	r.addErrors(validateMeta(meta, d.namespaced, metavalidation.NameIsDNSSubdomain))
	r.addErrors(v.validate(obj))
}

// coerce reports and removes the unknown fields of obj and brings its metadata into form.
func (d *definition) coerce(r *report, v *version, obj map[string]any) (*metav1.ObjectMeta, error) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(obj, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, err
	}
	if !found {
		meta = &metav1.ObjectMeta{}
	}
	if !d.preserve {
		track := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
		unknown = append(unknown, pruning.PruneWithOptions(obj, v.schema, true, track)...)
		defaulting.PruneNonNullableNullsWithoutDefaults(obj, v.schema)
	}
	fieldErr, nested := objectmeta.CoerceWithOptions(nil, obj, v.schema, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if fieldErr != nil {
		r.addErrors(field.ErrorList{fieldErr})
	}
	for _, path := range append(unknown, nested...) {
		r.unknownField(strings.TrimPrefix(path, "."))
	}
	return meta, nil
}

// validate checks obj, with defaults set, against the schema and its rules.
func (v *version) validate(obj map[string]any) field.ErrorList {
	ctx := context.Background()
	errs := validation.ValidateCustomResource(nil, obj, v.values)
	errs = append(errs, objectmeta.Validate(ctx, nil, obj, v.schema, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, v.schema, obj)...)
	if v.rules == nil || slices.ContainsFunc(errs, blocksRules) {
		return errs
	}
	broken, _ := v.rules.Validate(ctx, nil, v.schema, obj, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// blocksRules reports whether an API server skips the CEL rules after err: they could fail because of it.
func blocksRules(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany,
		field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

func (d *definition) servedVersions() string {
	var served []string
	for _, name := range slices.Sorted(maps.Keys(d.versions)) {
		if d.versions[name].served {
			served = append(served, name)
		}
	}
	return strings.Join(served, ", ")
}

// validateMeta checks names, labels, annotations and the like. What a request adds to an object before it is
// validated is added here: the namespace, and the end of a generated name.
func validateMeta(meta *metav1.ObjectMeta, namespaced bool, name metavalidation.ValidateNameFunc) field.ErrorList {
	meta = meta.DeepCopy()
	if namespaced && meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	if meta.Name == "" && meta.GenerateName != "" {
		meta.Name = meta.GenerateName + "abcde"
	}
	return metavalidation.ValidateObjectMeta(meta, namespaced, name, field.NewPath("metadata"))
}

// HasField reports whether a served version of a kind has a field in its schema, such as "status", "conditions".
func (s *Set) HasField(group, kind string, path ...string) bool {
	d, known := s.kinds[schema.GroupKind{Group: group, Kind: kind}]
	if !known {
		return false
	}
	for _, v := range d.versions {
		if v.served && hasField(v.schema, path) {
			return true
		}
	}
	return false
}

func hasField(at *structuralschema.Structural, path []string) bool {
	for _, name := range path {
		next, ok := at.Properties[name]
		if !ok {
			return false
		}
		at = &next
	}
	return true
}
