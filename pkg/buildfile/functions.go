package buildfile

import (
	"crypto/md5"  //nolint:gosec // a function of bake files, not for security
	"crypto/sha1" //nolint:gosec // a function of bake files, not for security
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"path"
	"strings"
	"sync"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// standardFunctions are the functions of buildx that depend on their arguments only and are not costly. A call of any other, such as
// timestamp, cannot be evaluated.
var standardFunctions = sync.OnceValue(func() map[string]function.Function {
	all := map[string]function.Function{
		"add": stdlib.AddFunc, "and": stdlib.AndFunc, "basename": textFunction(path.Base), "chomp": stdlib.ChompFunc, "coalesce": stdlib.CoalesceFunc,
		"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
		"dirname": textFunction(path.Dir), "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "equal": stdlib.EqualFunc,
		"flatten": stdlib.FlattenFunc, "format": stdlib.FormatFunc, "greaterthan": stdlib.GreaterThanFunc, "hasindex": stdlib.HasIndexFunc,
		"index": stdlib.IndexFunc, "int": stdlib.IntFunc, "join": stdlib.JoinFunc, "jsondecode": stdlib.JSONDecodeFunc, "keys": stdlib.KeysFunc,
		"length": stdlib.LengthFunc, "lessthan": stdlib.LessThanFunc, "lookup": stdlib.LookupFunc, "lower": stdlib.LowerFunc, "max": stdlib.MaxFunc,
		"merge": stdlib.MergeFunc, "min": stdlib.MinFunc, "not": stdlib.NotFunc, "notequal": stdlib.NotEqualFunc, "or": stdlib.OrFunc,
		"regex": stdlib.RegexFunc, "regex_replace": stdlib.RegexReplaceFunc, "replace": stdlib.ReplaceFunc, "reverse": stdlib.ReverseFunc,
		"reverselist": stdlib.ReverseListFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc,
		"substr": stdlib.SubstrFunc, "subtract": stdlib.SubtractFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
		"trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc, "values": stdlib.ValuesFunc,
		"md5": hashFunction(md5.New), "sha1": hashFunction(sha1.New), "sha256": hashFunction(sha256.New), "sha512": hashFunction(sha512.New),
		"sanitize": textFunction(sanitized), "zipmap": stdlib.ZipmapFunc,
	}
	for name, f := range all {
		all[name] = bounded(f)
	}
	return all
})

// textFunction returns a function from text to text.
func textFunction(of func(string) string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(of(args[0].AsString())), nil
		},
	})
}

func hashFunction(algorithm func() hash.Hash) function.Function {
	return textFunction(func(text string) string {
		h := algorithm()
		_, _ = h.Write([]byte(text)) // never fails
		return hex.EncodeToString(h.Sum(nil))
	})
}

// sanitized returns a text in which underscores replace everything but letters, digits, dashes and underscores, as buildx does.
func sanitized(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, text)
}

// bounded returns a function that refuses large arguments.
func bounded(f function.Function) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if sizeOf(cty.TupleVal(args)) > maxArguments {
				return cty.NilType, errTooLarge
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}
