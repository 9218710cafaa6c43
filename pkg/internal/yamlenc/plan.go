package yamlenc

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// mode is the way in which values of a type are written.
type mode uint8

const (
	modeUnsupported mode = iota
	modeBool
	modeInt
	modeUint
	modeFloat
	modeString
	modeQuoted
	modeNumber
	modeBytes
	modeSelf
	modePointer
	modeInterface
	modeMap
	modeList
	modeStruct
)

// writer writes a value that marshals itself.
type writer func(e *encoder, v any, at place) error

// plan is computed once per type.
type plan struct {
	mode   mode
	err    error   // modeUnsupported: why
	self   writer  // modeSelf
	addr   writer  // when not nil, writes an addressable value from its pointer, whatever the mode
	elem   *plan   // modePointer, modeMap, modeList
	fields []field // modeStruct
	inline *field  // modeStruct: the inline map, if any

	zeroer, addrZeroer bool // the type, or a pointer to it, has the method IsZero
}

// maxFieldName keeps the written name of a field, at most ten bytes for each of its own, below maxSimpleKey.
const maxFieldName = maxSimpleKey / 10

type field struct {
	name      string
	key       string // the name as written, with its colon
	index     []int
	tagged    bool
	omitEmpty bool
	omitZero  bool
	plan      *plan
}

var (
	timeType          = reflect.TypeFor[time.Time]()
	quotedType        = reflect.TypeFor[Quoted]()
	numberType        = reflect.TypeFor[json.Number]()
	stringMapType     = reflect.TypeFor[map[string]string]()
	jsonMarshalerType = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	zeroerType        = reflect.TypeFor[zeroer]()
)

type zeroer interface{ IsZero() bool }

// plans holds a *plan per reflect.Type.
var plans sync.Map

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	building := map[reflect.Type]*plan{}
	p := build(t, building)
	// Only now are the plans of a recursive type complete.
	for t, p := range building {
		plans.LoadOrStore(t, p)
	}
	return p
}

func build(t reflect.Type, building map[reflect.Type]*plan) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	if p, ok := building[t]; ok {
		return p
	}
	p := &plan{
		zeroer:     t.Implements(zeroerType),
		addrZeroer: reflect.PointerTo(t).Implements(zeroerType),
	}
	building[t] = p
	p.addr = addrWriter(t)
	if self := selfWriter(t); self != nil {
		p.mode, p.self = modeSelf, self
		return p
	}
	p.fromKind(t, building)
	return p
}

// selfWriter returns the writer of values of type t that marshal themselves. Pointers and interfaces are
// dereferenced first.
func selfWriter(t reflect.Type) writer {
	switch {
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		return nil
	case t == timeType:
		return writeTime
	case t.Implements(jsonMarshalerType):
		return writeJSON
	case t.Implements(textMarshalerType):
		return writeText
	}
	return nil
}

// addrWriter is the writer of pointers to t. Going through the pointer saves a copy, and it is the only way
// to methods with a pointer receiver.
func addrWriter(t reflect.Type) writer {
	p := reflect.PointerTo(t)
	switch {
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		return nil
	case t == timeType:
		return writeTime
	case p.Implements(jsonMarshalerType):
		return writeJSON
	case t.Implements(jsonMarshalerType):
		return nil
	case p.Implements(textMarshalerType):
		return writeText
	}
	return nil
}

func (p *plan) fromKind(t reflect.Type, building map[reflect.Type]*plan) {
	switch t.Kind() {
	case reflect.Bool:
		p.mode = modeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.mode = modeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		p.mode = modeUint
	case reflect.Float32, reflect.Float64:
		p.mode = modeFloat
	case reflect.String:
		p.mode = stringMode(t)
	case reflect.Pointer:
		p.mode, p.elem = modePointer, build(t.Elem(), building)
	case reflect.Interface:
		p.mode = modeInterface
	case reflect.Map:
		p.mode, p.elem = modeMap, build(t.Elem(), building)
		if t.Key().Kind() != reflect.String {
			p.unsupported(fmt.Errorf("unsupported map key type %s", t.Key()))
		}
	case reflect.Slice:
		p.mode, p.elem = modeList, build(t.Elem(), building)
		if t.Elem().Kind() == reflect.Uint8 && p.elem.self == nil && p.elem.addr == nil {
			p.mode = modeBytes
		}
	case reflect.Array:
		p.mode, p.elem = modeList, build(t.Elem(), building)
	case reflect.Struct:
		p.mode = modeStruct
		if err := p.setFields(t, building); err != nil {
			p.unsupported(err)
		}
	default:
		p.unsupported(fmt.Errorf("unsupported type %s", t))
	}
}

func (p *plan) unsupported(err error) { p.mode, p.err = modeUnsupported, err }

func stringMode(t reflect.Type) mode {
	switch t {
	case quotedType:
		return modeQuoted
	case numberType:
		return modeNumber
	}
	return modeString
}

// in returns the field of struct v, and false when it lies behind an embedded nil pointer.
func (f *field) in(v reflect.Value) (reflect.Value, bool) {
	for i, x := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v, true
}

// omitted reports whether the field is left out when it holds v. Empty and zero are defined as in
// encoding/json.
func (f *field) omitted(v reflect.Value) bool {
	if f.omitEmpty {
		switch v.Kind() {
		case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
			if v.Len() == 0 {
				return true
			}
		case reflect.Struct:
		default:
			if v.IsZero() {
				return true
			}
		}
	}
	return f.omitZero && f.isZero(v)
}

// isZero reports whether a value is zero, by its method IsZero if it has one.
func (f *field) isZero(v reflect.Value) bool {
	switch {
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		if v.IsNil() || !f.plan.zeroer {
			return v.IsNil()
		}
		if inner := v.Elem(); inner.Kind() == reflect.Pointer && inner.IsNil() {
			return true
		}
	case v.CanAddr() && f.plan.addrZeroer:
		v = v.Addr()
	case !f.plan.zeroer:
		return v.IsZero()
	}
	return v.Interface().(zeroer).IsZero()
}

// tag is the parsed struct tag of a field.
type tag struct {
	name                                string
	skip, omitEmpty, omitZero, inlining bool
	tagged                              bool // the name comes from the tag
}

func parseTag(f reflect.StructField) (tag, error) {
	raw, isYAML := f.Tag.Lookup("yaml")
	if !isYAML {
		raw = f.Tag.Get("json")
	}
	if raw == "-" {
		return tag{skip: true}, nil
	}
	name, options, _ := strings.Cut(raw, ",")
	t := tag{name: name, tagged: name != ""}
	switch {
	case t.tagged:
	case isYAML:
		t.name = strings.ToLower(f.Name)
	default:
		t.name = f.Name
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			t.omitEmpty, t.omitZero = true, t.omitZero || isYAML
		case "omitzero":
			t.omitZero = true
		case "inline":
			t.inlining = true
		case "string":
			return tag{}, fmt.Errorf("unsupported option %q of field %q", option, f.Name)
		}
	}
	return t, nil
}

// level is a struct whose fields are collected: the type itself, or one merged into it.
type level struct {
	t     reflect.Type
	index []int
}

// setFields collects the fields of struct t and of the structs merged into it. As in encoding/json, the
// least nested field of a name wins, then the tagged one, and with several of these there is none.
func (p *plan) setFields(t reflect.Type, building map[reflect.Type]*plan) error {
	var found []field
	seen := map[reflect.Type]bool{}
	for levels := []level{{t: t}}; len(levels) > 0; {
		var next []level
		for _, l := range levels {
			if seen[l.t] {
				continue
			}
			fields, merged, err := p.collect(l, building)
			if err != nil {
				return err
			}
			found = append(found, fields...)
			next = append(next, merged...)
		}
		for _, l := range levels {
			seen[l.t] = true
		}
		levels = next
	}
	p.fields = dominant(found)
	return nil
}

// collect returns the fields that stand in l itself and the structs that are merged into it. It also sets
// the inline map.
func (p *plan) collect(l level, building map[reflect.Type]*plan) (fields []field, merged []level, err error) {
	for i := range l.t.NumField() {
		sf := l.t.Field(i)
		inner := sf.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		isStruct := inner.Kind() == reflect.Struct
		if !sf.IsExported() && (!sf.Anonymous || !isStruct) {
			continue
		}
		tag, err := parseTag(sf)
		if err != nil {
			return nil, nil, err
		}
		index := append(slices.Clone(l.index), i)
		switch {
		case tag.skip:
		case isStruct && (tag.inlining || (sf.Anonymous && !tag.tagged)):
			merged = append(merged, level{t: inner, index: index})
		case !sf.IsExported():
			return nil, nil, fmt.Errorf("unsupported name %q for embedded unexported %q", tag.name, sf.Name)
		case tag.inlining:
			if sf.Type.Kind() != reflect.Map || p.inline != nil {
				return nil, nil, errors.New("the option inline is for structs and for one map")
			}
			p.inline = &field{name: tag.name, index: index, plan: build(sf.Type, building)}
		default:
			if !utf8.ValidString(tag.name) || len(tag.name) > maxFieldName {
				return nil, nil, fmt.Errorf("unsupported name of field %q", sf.Name)
			}
			fields = append(fields, field{
				name: tag.name, key: string(appendKey(nil, tag.name)) + ":", index: index, tagged: tag.tagged,
				omitEmpty: tag.omitEmpty, omitZero: tag.omitZero, plan: build(sf.Type, building),
			})
		}
	}
	return fields, merged, nil
}

// dominant keeps the winning field of each name, in the order of declaration.
func dominant(found []field) []field {
	rank := func(a, b field) int {
		if c := cmp.Compare(len(a.index), len(b.index)); c != 0 {
			return c
		}
		switch {
		case a.tagged == b.tagged:
			return 0
		case a.tagged:
			return -1
		}
		return 1
	}
	byName := map[string][]field{}
	for _, f := range found {
		byName[f.name] = append(byName[f.name], f)
	}
	var winners []field
	for _, same := range byName {
		slices.SortStableFunc(same, rank)
		if len(same) == 1 || rank(same[0], same[1]) != 0 {
			winners = append(winners, same[0])
		}
	}
	slices.SortFunc(winners, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return winners
}
