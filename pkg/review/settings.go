package review

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/plan"
)

// settings returns the keys of an entry of images.yaml whose values differ, defaults filled in.
func settings(old, now *config.Image) []plan.SettingDiff {
	return compare(reflect.ValueOf(*old), reflect.ValueOf(*now), "")
}

// compare compares two structs of one type, key by key.
func compare(old, now reflect.Value, prefix string) []plan.SettingDiff {
	var out []plan.SettingDiff
	for i := range old.NumField() {
		key, _, _ := strings.Cut(old.Type().Field(i).Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		a, b := old.Field(i), now.Field(i)
		if source := reflect.TypeFor[*config.Source](); a.Type() == source && !a.IsNil() && !b.IsNil() {
			out = append(out, compare(a.Elem(), b.Elem(), prefix+key+".")...)
			continue
		}
		if from, to := text(a), text(b); from != to {
			out = append(out, plan.SettingDiff{Key: prefix + key, From: from, To: to})
		}
	}
	return out
}

// text returns a value of images.yaml in one line; "" for one that is not set.
func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case config.Duration:
		return x.String()
	case config.Source:
		return x.Repo
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Sprint(v.Interface())
	}
	return string(data)
}
