package review

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
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

// factory compares the settings for all images. A Secret that goes to another host than before is listed on its own: whoever
// runs that host learns it.
func (c *comparison) factory() {
	old, now := &c.before.Config.Factory, &c.after.Config.Factory
	c.diff.Factory = append(c.diff.Factory, nested(reflect.ValueOf(*old), reflect.ValueOf(*now), "factory")...)
	before := recipients(old)
	for _, to := range recipients(now) {
		if !slices.Contains(before, to) {
			c.diff.Secrets = append(c.diff.Secrets, to)
		}
	}
}

// recipients returns which hosts get which Secrets, sorted by host.
func recipients(f *config.Factory) []plan.SecretDiff {
	var out []plan.SecretDiff
	for _, host := range slices.Sorted(maps.Keys(f.Credentials)) {
		for _, use := range []struct {
			name string
			key  *config.SecretKey
		}{{"api", f.Credentials[host].API}, {"git", f.Credentials[host].Git}, {"registry", f.Credentials[host].Registry}} {
			if use.key != nil {
				out = append(out, plan.SecretDiff{Secret: use.key.Secret, Key: use.key.Key, Host: host, Use: use.name})
			}
		}
		if app := f.Credentials[host].App; app != nil {
			out = append(out, plan.SecretDiff{Secret: app.Secret, Key: "private-key", Host: host, Use: "app"})
		}
	}
	for i := range f.Notify.Channels {
		if c := &f.Notify.Channels[i]; c.Secret != nil && c.Host() != "" {
			out = append(out, plan.SecretDiff{Secret: c.Secret.Secret, Key: c.Secret.Key, Host: c.Host(), Use: "notify"})
		}
	}
	return out
}

// nested compares two values of one type down to the keys that hold no other keys.
func nested(old, now reflect.Value, key string) []plan.SettingDiff {
	a, b := target(old), target(now)
	var out []plan.SettingDiff
	switch {
	case a.Kind() == reflect.Struct && hasKeys(a.Type()):
		for i := range a.NumField() {
			if name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
				out = append(out, nested(a.Field(i), b.Field(i), key+"."+name)...)
			}
		}
	case a.Kind() == reflect.Map && target(reflect.New(a.Type().Elem()).Elem()).Kind() != reflect.Interface:
		names := map[string]bool{}
		for _, m := range []reflect.Value{a, b} {
			for _, name := range m.MapKeys() {
				names[name.String()] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			out = append(out, nested(entry(a, name), entry(b, name), key+"."+name)...)
		}
	default:
		if from, to := text(old), text(now); from != to {
			out = append(out, plan.SettingDiff{Key: key, From: from, To: to})
		}
	}
	return out
}

// target returns what a pointer points to; the zero value for nil.
func target(v reflect.Value) reflect.Value {
	switch {
	case v.Kind() != reflect.Pointer:
		return v
	case v.IsNil():
		return reflect.Zero(v.Type().Elem())
	}
	return v.Elem()
}

// entry returns the value of a key; the zero value if there is none.
func entry(m reflect.Value, key string) reflect.Value {
	if v := m.MapIndex(reflect.ValueOf(key).Convert(m.Type().Key())); v.IsValid() {
		return v
	}
	return reflect.Zero(m.Type().Elem())
}

// hasKeys reports whether a struct is a mapping in images.yaml.
func hasKeys(t reflect.Type) bool {
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			return true
		}
	}
	return false
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
	case config.EnvValue:
		if x.Object == nil {
			return x.Value
		}
		return strings.TrimSpace(fmt.Sprintf("key %s of %s %s", x.Object.Key, x.Object.Secret, x.Object.ConfigMap))
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	if v.Kind() == reflect.Slice && target(reflect.New(v.Type().Elem()).Elem()).Kind() == reflect.Struct {
		return entries(v)
	}
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Sprint(v.Interface())
	}
	return string(data)
}

// entries returns a list of mappings in one line, with the keys that are set.
func entries(list reflect.Value) string {
	var items []string
	for i := range list.Len() {
		item := list.Index(i)
		var keys []string
		for _, set := range nested(reflect.Zero(item.Type()), item, "") {
			keys = append(keys, strings.TrimPrefix(set.Key, ".")+": "+set.To)
		}
		items = append(items, "{"+strings.Join(keys, ", ")+"}")
	}
	return "[" + strings.Join(items, ", ") + "]"
}
