package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Difference is a key in which two entries differ. A value that one of them does not have is "".
type Difference struct {
	Key  string `json:"key"` // such as source.workflow
	Have string `json:"have,omitempty"`
	Want string `json:"want,omitempty"`
}

// Differences returns the keys in which two entries with their defaults differ, sorted.
func Differences(have, want *Image) []Difference {
	a, b := map[string]string{}, map[string]string{}
	flatten(reflect.ValueOf(have).Elem(), "", a)
	flatten(reflect.ValueOf(want).Elem(), "", b)
	var out []Difference
	for _, key := range slices.Sorted(maps.Keys(merged(a, b))) {
		if a[key] != b[key] {
			out = append(out, Difference{key, a[key], b[key]})
		}
	}
	return out
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// flatten collects the values of an entry as text, by their path.
func flatten(v reflect.Value, path string, into map[string]string) {
	if v.Kind() == reflect.Pointer {
		if !v.IsNil() {
			flatten(v.Elem(), path, into)
		}
		return
	}
	if _, ok := v.Interface().(fmt.Stringer); ok || v.Type().Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		into[path] = fmt.Sprint(v.Interface())
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
				flatten(v.Field(i), join(path, name), into)
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			flatten(v.MapIndex(key), join(path, key.String()), into)
		}
	case reflect.Slice:
		for i := range v.Len() {
			flatten(v.Index(i), fmt.Sprintf("%s[%d]", path, i), into)
		}
	default:
		if !v.IsZero() || v.Kind() == reflect.Bool {
			into[path] = fmt.Sprint(v.Interface())
		}
	}
}
