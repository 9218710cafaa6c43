package yamlenc

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth bounds how deeply values may nest. It also ends the walk of a value that contains itself.
const maxDepth = 200

// maxSimpleKey is how long a written key may be before it needs the explicit form "? key": YAML readers
// look no further than 1024 characters for the colon.
const maxSimpleKey = 1000

// Quoted is a string that is always written in double quotes, also where a plain scalar would do.
type Quoted string

// Marshal returns v as one YAML document, without a "---" line and ending in a newline.
//
// It fails when v contains invalid UTF-8, NaN or an infinity, a type that has no YAML form, an entry
// of an inline map with the name of a field, or more than 200 levels; the error names the place.
func Marshal(v any) ([]byte, error) {
	return Append(nil, v)
}

// Append appends the result of [Marshal] to dst and returns the extended buffer. On an error it returns dst
// unchanged.
func Append(dst []byte, v any) ([]byte, error) {
	e := encoder{buf: dst}
	if err := e.any(v, place{ctx: atTop}); err != nil {
		return dst, locate(err)
	}
	return e.buf, nil
}

// context is what precedes a value on its line.
type context uint8

const (
	atTop     context = iota // nothing: the value is the document
	afterKey                 // "key:"
	afterDash                // "- "
)

// place is the position of a value: what precedes it, and the column of its parent collection.
type place struct {
	col int
	ctx context
}

// mapCol is the column of a mapping written at p.
func (p place) mapCol() int {
	if p.ctx == atTop {
		return p.col
	}
	return p.col + 2
}

// seqCol is the column of a sequence written at p: under a key it is not indented further.
func (p place) seqCol() int {
	if p.ctx == afterDash {
		return p.col + 2
	}
	return p.col
}

type encoder struct {
	buf   []byte
	depth int
	keys  []string // stack of the sorted keys of the maps being written
}

func (e *encoder) indent(n int) {
	const spaces = "                                "
	for ; n > len(spaces); n -= len(spaces) {
		e.buf = append(e.buf, spaces...)
	}
	e.buf = append(e.buf, spaces[:n]...)
}

// entry starts entry number i of a collection in column col. The first one of a collection that follows a
// key needs a new line; the first one after a dash or at the top stands where the writer already is.
func (e *encoder) entry(i, col int, ctx context) {
	if i == 0 {
		if ctx != afterKey {
			return
		}
		e.buf = append(e.buf, '\n')
	}
	e.indent(col)
}

// scalar writes s, which must need no quotes.
func (e *encoder) scalar(s string, at place) {
	e.gap(at)
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, '\n')
}

// gap separates a scalar from the key before it.
func (e *encoder) gap(at place) {
	if at.ctx == afterKey {
		e.buf = append(e.buf, ' ')
	}
}

func (e *encoder) enter() error {
	if e.depth++; e.depth > maxDepth {
		return fmt.Errorf("more than %d levels deep, or containing itself", maxDepth)
	}
	return nil
}

func (e *encoder) leave() { e.depth-- }

// any writes v. The types that decoded documents and Kubernetes metadata are made of are written without
// reflection.
func (e *encoder) any(v any, at place) error {
	switch v := v.(type) {
	case nil:
		e.scalar("null", at)
		return nil
	case string:
		return e.string(v, at)
	case bool:
		e.bool(v, at)
		return nil
	case int:
		e.int(int64(v), at)
		return nil
	case int64:
		e.int(v, at)
		return nil
	case float64:
		return e.float(v, 64, at)
	case map[string]any:
		return writeMap(e, v, at, e.any)
	case map[string]string:
		return writeMap(e, v, at, e.string)
	case []any:
		return e.slice(v, at)
	}
	rv := reflect.ValueOf(v)
	return e.value(planOf(rv.Type()), rv, at)
}

func (e *encoder) bool(b bool, at place) {
	if b {
		e.scalar("true", at)
		return
	}
	e.scalar("false", at)
}

func (e *encoder) int(i int64, at place) {
	e.gap(at)
	e.buf = append(strconv.AppendInt(e.buf, i, 10), '\n')
}

func (e *encoder) uint(u uint64, at place) {
	e.gap(at)
	e.buf = append(strconv.AppendUint(e.buf, u, 10), '\n')
}

// float writes f with the fewest digits that identify it, in the notation of encoding/json.
func (e *encoder) float(f float64, bits int, at place) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("unsupported number %v", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	var digits [32]byte
	e.number(string(strconv.AppendFloat(digits[:0], f, format, -1, bits)), at)
	return nil
}

// number writes a JSON number. YAML 1.1 readers take one with an exponent for a string, unless it also has
// a decimal point and the exponent a sign.
func (e *encoder) number(lit string, at place) {
	mantissa, exponent, found := strings.Cut(strings.ToLower(lit), "e")
	if !found {
		e.scalar(lit, at)
		return
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if !strings.HasPrefix(exponent, "-") && !strings.HasPrefix(exponent, "+") {
		exponent = "+" + exponent
	}
	e.scalar(mantissa+"e"+exponent, at)
}

func (e *encoder) string(s string, at place) error {
	e.gap(at)
	switch styleOf(s) {
	case plain:
		e.buf = append(e.buf, s...)
	case literal:
		e.literal(s, at.col+2)
		return nil
	case double:
		e.buf = appendQuoted(e.buf, s)
	case invalid:
		return errInvalidUTF8
	}
	e.buf = append(e.buf, '\n')
	return nil
}

// literal writes s, which styleOf found fit for it, as a literal block whose lines start in column col.
func (e *encoder) literal(s string, col int) {
	e.buf = append(e.buf, '|')
	switch {
	case !strings.HasSuffix(s, "\n"):
		e.buf = append(e.buf, '-')
	case strings.HasSuffix(s, "\n\n"):
		e.buf = append(e.buf, '+')
	}
	e.buf = append(e.buf, '\n')
	for line := range strings.Lines(s) {
		if line != "\n" {
			e.indent(col)
		}
		e.buf = append(e.buf, line...)
	}
	if !strings.HasSuffix(s, "\n") {
		e.buf = append(e.buf, '\n')
	}
}

// appendKey appends k, which must be valid UTF-8, as a mapping key on one line.
func appendKey(dst []byte, k string) []byte {
	if styleOf(k) == plain {
		return append(dst, k...)
	}
	return appendQuoted(dst, k)
}

// key writes a mapping key and its colon; col is the column of the mapping.
func (e *encoder) key(k string, col int) error {
	if !utf8.ValidString(k) {
		return errInvalidUTF8
	}
	start := len(e.buf)
	e.buf = appendKey(e.buf, k)
	if len(e.buf)-start > maxSimpleKey {
		e.buf = slices.Insert(e.buf, start, '?', ' ')
		e.buf = append(e.buf, '\n')
		e.indent(col)
	}
	e.buf = append(e.buf, ':')
	return nil
}

// writeMap writes m sorted by key, each value with write.
func writeMap[V any](e *encoder, m map[string]V, at place, write func(V, place) error) error {
	if m == nil {
		e.scalar("null", at)
		return nil
	}
	if len(m) == 0 {
		e.scalar("{}", at)
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	base := len(e.keys)
	defer func() { e.keys = e.keys[:base] }()
	for k := range m {
		e.keys = append(e.keys, k)
	}
	keys := e.keys[base:]
	slices.Sort(keys)
	col := at.mapCol()
	for i, k := range keys {
		e.entry(i, col, at.ctx)
		if err := e.key(k, col); err != nil {
			return under(k, err)
		}
		if err := write(m[k], place{col: col, ctx: afterKey}); err != nil {
			return under(k, err)
		}
	}
	return nil
}

func (e *encoder) slice(s []any, at place) error {
	if s == nil {
		e.scalar("null", at)
		return nil
	}
	if len(s) == 0 {
		e.scalar("[]", at)
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	col := at.seqCol()
	for i, v := range s {
		e.entry(i, col, at.ctx)
		e.buf = append(e.buf, "- "...)
		if err := e.any(v, place{col: col, ctx: afterDash}); err != nil {
			return underIndex(i, err)
		}
	}
	return nil
}

// value writes v, whose type p was made for.
func (e *encoder) value(p *plan, v reflect.Value, at place) error {
	if p.addr != nil && v.CanAddr() {
		return p.addr(e, v.Addr().Interface(), at)
	}
	switch p.mode {
	case modeBool:
		e.bool(v.Bool(), at)
		return nil
	case modeInt:
		e.int(v.Int(), at)
		return nil
	case modeUint:
		e.uint(v.Uint(), at)
		return nil
	case modeFloat:
		return e.float(v.Float(), v.Type().Bits(), at)
	case modeString:
		return e.string(v.String(), at)
	case modeQuoted:
		return e.quoted(v.String(), at)
	case modeNumber:
		return e.jsonNumber(v.String(), at)
	case modeBytes:
		return e.bytes(v, at)
	case modeSelf:
		return p.self(e, v.Interface(), at)
	case modePointer:
		return e.pointer(p, v, at)
	case modeInterface:
		if v.IsNil() {
			e.scalar("null", at)
			return nil
		}
		return e.any(v.Elem().Interface(), at)
	case modeMap:
		return e.reflectedMap(p, v, at)
	case modeList:
		return e.list(p, v, at)
	case modeStruct:
		return e.structure(p, v, at)
	case modeUnsupported:
		return p.err
	}
	panic("yamlenc: plan without a mode for " + v.Type().String())
}

func (e *encoder) quoted(s string, at place) error {
	if !utf8.ValidString(s) {
		return errInvalidUTF8
	}
	e.gap(at)
	e.buf = append(appendQuoted(e.buf, s), '\n')
	return nil
}

func (e *encoder) jsonNumber(lit string, at place) error {
	if lit == "" {
		lit = "0" // as encoding/json does
	}
	if c := lit[0]; (c != '-' && (c < '0' || c > '9')) || !json.Valid([]byte(lit)) {
		return fmt.Errorf("invalid number %q", lit)
	}
	e.number(lit, at)
	return nil
}

func (e *encoder) bytes(v reflect.Value, at place) error {
	if v.IsNil() {
		e.scalar("null", at)
		return nil
	}
	return e.string(base64.StdEncoding.EncodeToString(v.Bytes()), at)
}

func (e *encoder) pointer(p *plan, v reflect.Value, at place) error {
	if v.IsNil() {
		e.scalar("null", at)
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	return e.value(p.elem, v.Elem(), at)
}

func (e *encoder) list(p *plan, v reflect.Value, at place) error {
	if v.Kind() == reflect.Slice && v.IsNil() {
		e.scalar("null", at)
		return nil
	}
	n := v.Len()
	if n == 0 {
		e.scalar("[]", at)
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	col := at.seqCol()
	for i := range n {
		e.entry(i, col, at.ctx)
		e.buf = append(e.buf, "- "...)
		if err := e.value(p.elem, v.Index(i), place{col: col, ctx: afterDash}); err != nil {
			return underIndex(i, err)
		}
	}
	return nil
}

// reflectedMap writes a map that is not one of the types that any knows.
func (e *encoder) reflectedMap(p *plan, v reflect.Value, at place) error {
	if v.Type() == stringMapType {
		return writeMap(e, v.Interface().(map[string]string), at, e.string)
	}
	if v.IsNil() {
		e.scalar("null", at)
		return nil
	}
	if v.Len() == 0 {
		e.scalar("{}", at)
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	_, err := e.entries(p, v, 0, at.mapCol(), at.ctx)
	return err
}

// entries writes the entries of map v, as those from number n on of a mapping in column col. It returns the
// number after the last.
func (e *encoder) entries(p *plan, v reflect.Value, n, col int, ctx context) (int, error) {
	type pair struct {
		key   string
		value reflect.Value
	}
	pairs := make([]pair, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		pairs = append(pairs, pair{iter.Key().String(), iter.Value()})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	for _, kv := range pairs {
		e.entry(n, col, ctx)
		if err := e.key(kv.key, col); err != nil {
			return n, under(kv.key, err)
		}
		if err := e.value(p.elem, kv.value, place{col: col, ctx: afterKey}); err != nil {
			return n, under(kv.key, err)
		}
		n++
	}
	return n, nil
}

func (e *encoder) structure(p *plan, v reflect.Value, at place) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	col := at.mapCol()
	n := 0
	for i := range p.fields {
		f := &p.fields[i]
		fv, ok := f.in(v)
		if !ok || f.omitted(fv) {
			continue
		}
		e.entry(n, col, at.ctx)
		e.buf = append(e.buf, f.key...)
		if err := e.value(f.plan, fv, place{col: col, ctx: afterKey}); err != nil {
			return under(f.name, err)
		}
		n++
	}
	if p.inline != nil {
		var err error
		if n, err = e.inlined(p, v, n, col, at.ctx); err != nil {
			return err
		}
	}
	if n == 0 {
		e.scalar("{}", at)
	}
	return nil
}

func (e *encoder) inlined(p *plan, v reflect.Value, n, col int, ctx context) (int, error) {
	m, ok := p.inline.in(v)
	if !ok || m.Len() == 0 {
		return n, nil
	}
	for i := range p.fields {
		name := p.fields[i].name
		key := reflect.ValueOf(name).Convert(m.Type().Key())
		if m.MapIndex(key).IsValid() {
			return n, under(name, errors.New("inline entry with the name of a field"))
		}
	}
	return e.entries(p.inline.plan, m, n, col, ctx)
}

// writeTime writes a time.Time, given as itself or by pointer.
func writeTime(e *encoder, v any, at place) error {
	t, ok := v.(time.Time)
	if !ok {
		t = *v.(*time.Time)
	}
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return fmt.Errorf("year %d has no RFC 3339 form", y)
	}
	e.gap(at)
	e.buf = append(e.buf, '"')
	e.buf = t.AppendFormat(e.buf, time.RFC3339Nano)
	e.buf = append(e.buf, "\"\n"...)
	return nil
}

func writeText(e *encoder, v any, at place) error {
	text, err := v.(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return fmt.Errorf("marshaling %T: %w", v, err)
	}
	return e.string(string(text), at)
}

// writeJSON writes the output of a json.Marshaler. Most of them return a plain string or null, which need no
// decoding.
func writeJSON(e *encoder, v any, at place) error {
	data, err := v.(json.Marshaler).MarshalJSON()
	if err != nil {
		return fmt.Errorf("marshaling %T: %w", v, err)
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("marshaling %T: %w", v, errInvalidUTF8)
	}
	if s, ok := simpleJSONString(data); ok {
		return e.string(s, at)
	}
	decoded, err := decodeJSON(data)
	if err != nil {
		return fmt.Errorf("decoding the JSON of %T: %w", v, err)
	}
	return e.any(decoded, at)
}

func simpleJSONString(data []byte) (string, bool) {
	n := len(data)
	if n < 2 || data[0] != '"' || data[n-1] != '"' {
		return "", false
	}
	inner := data[1 : n-1]
	for _, c := range inner {
		if c < ' ' || c == '"' || c == '\\' {
			return "", false
		}
	}
	return string(inner), true
}

func decodeJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return v, nil
}
