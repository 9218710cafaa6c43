package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

var errTooMany = fmt.Errorf("more than %d findings", maxFindings)

const maxValue = 16 << 20 // bytes of a value that is decoded at once, such as a finding

// stream walks through a JSON document. Each callback has to consume one value: by decode, skip, object or array.
type stream struct {
	dec *json.Decoder
	src *bounded
}

func newStream(r io.Reader, limit int64) *stream {
	src := &bounded{r: r, limit: limit}
	return &stream{dec: json.NewDecoder(src), src: src}
}

// bounded is like [io.LimitedReader], but reading more than the limit is an error, and so is a value of more than maxValue bytes,
// which would be held in memory.
type bounded struct {
	r           io.Reader
	read, limit int64
	value       int64 // where the value begins that is being read
}

func (b *bounded) Read(p []byte) (int, error) {
	switch {
	case b.read >= b.limit:
		return 0, fmt.Errorf("larger than %d MiB", b.limit>>20)
	case b.read-b.value >= maxValue:
		return 0, fmt.Errorf("a value is larger than %d MiB", maxValue>>20)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.limit-b.read, b.value+maxValue-b.read)])
	b.read += int64(n)
	return n, err
}

// object calls fn for each key of an object. null is an empty object.
func (s *stream) object(fn func(key string) error) error {
	if open, err := s.open('{'); err != nil || !open {
		return err
	}
	for s.dec.More() {
		token, err := s.token()
		if err != nil {
			return err
		}
		if err := fn(token.(string)); err != nil { // the decoder accepts only strings as keys
			return err
		}
	}
	_, err := s.token()
	return err
}

// array calls fn for each element of an array. null is an empty array.
func (s *stream) array(fn func() error) error {
	if open, err := s.open('['); err != nil || !open {
		return err
	}
	for s.dec.More() {
		if err := fn(); err != nil {
			return err
		}
	}
	_, err := s.token()
	return err
}

// open consumes the start of an object or array, and reports false for null.
func (s *stream) open(want json.Delim) (bool, error) {
	at := s.dec.InputOffset()
	token, err := s.token()
	switch {
	case err != nil:
		return false, err
	case token == nil:
		return false, nil
	case token != want:
		return false, &json.UnmarshalTypeError{Value: describe(token), Offset: at, Field: map[json.Delim]string{'{': "object", '[': "array"}[want]}
	}
	return true, nil
}

func describe(token json.Token) string {
	switch t := token.(type) {
	case json.Delim:
		return map[json.Delim]string{'{': "object", '[': "array"}[t]
	case string:
		return "string"
	case bool:
		return "bool"
	}
	return "number"
}

// token returns the next token.
func (s *stream) token() (json.Token, error) {
	s.src.value = s.dec.InputOffset()
	return s.dec.Token()
}

// decode consumes a value into v, which names the few fields that are wanted.
func (s *stream) decode(v any) error {
	s.src.value = s.dec.InputOffset()
	return s.dec.Decode(v)
}

// skip consumes a value: an object or array of any size, whose values are not larger than a value may be.
func (s *stream) skip() error {
	token, err := s.token()
	if _, nested := token.(json.Delim); err != nil || !nested {
		return err
	}
	for s.dec.More() {
		if token == json.Delim('{') {
			if _, err := s.token(); err != nil {
				return err
			}
		}
		if err := s.decode(&skipped{}); err != nil {
			return err
		}
	}
	_, err = s.token()
	return err
}

type skipped struct{}

func (*skipped) UnmarshalJSON([]byte) error { return nil }

// each decodes the elements of an array, one at a time.
func each[T any](s *stream, fn func(*T) error) error {
	return s.array(func() error {
		var v T
		if err := s.decode(&v); err != nil {
			return err
		}
		return fn(&v)
	})
}

// end reports whether the document ends here.
func (s *stream) end() error {
	if _, err := s.token(); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.New("there is more than one document")
}

// explain returns err with the place in the report and what to do about it.
func (s *stream) explain(err error) error {
	at := s.dec.InputOffset()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF) && at == 0:
		return errors.New("the report is empty (did the scanner fail?)")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the report is truncated: it ends at byte %d (write it again)", s.src.read)
	case errors.As(err, &syntax):
		return fmt.Errorf("invalid JSON near byte %d: %w (write the report again, as JSON)", max(at, syntax.Offset), err)
	case errors.As(err, &kind):
		want := kind.Field
		if kind.Type != nil {
			want = fmt.Sprintf("%s in %q", kind.Type.Kind(), kind.Field)
		}
		return fmt.Errorf("unexpected %s near byte %d, where the format has %s (is it the report of a newer scanner?)", kind.Value, max(at, kind.Offset), want)
	}
	return fmt.Errorf("at byte %d: %w", at, err)
}
