package githubapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// base is the path of the API on a GitHub Enterprise server, as the test forge has it.
const base = "/api/v3"

// description is GitHub's description of its REST API.
type description struct {
	doc    *openapi3.T
	paths  []template
	strict map[*openapi3.Operation]bool // operations whose schemas refuse undocumented properties
}

// template is a documented path.
type template struct {
	path     string
	pattern  *regexp.Regexp
	names    []string // of its parameters
	literals int
}

var parameter = regexp.MustCompile(`\{([a-z_]+)\}`)

// longParameters may hold slashes at the end of a path.
var longParameters = map[string]bool{"path": true, "ref": true, "branch": true, "basehead": true, "tree_sha": true}

func load(file string) (*description, error) {
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("loading GitHub's API description: %w", err)
	}
	d := &description{doc: doc, strict: map[*openapi3.Operation]bool{}}
	for _, path := range doc.Paths.InMatchingOrder() {
		d.paths = append(d.paths, newTemplate(path))
	}
	newStrict(true).apply(doc.Components.Schemas["basic-error"], false)
	d.correct()
	return d, nil
}

// correct changes the schemas that contradict the text beside them.
func (d *description) correct() {
	// "You can also pass an `array` of labels directly."
	labels := d.doc.Paths.Value("/repos/{owner}/{repo}/issues/{issue_number}/labels").Post.RequestBody.Value.Content["application/json"].Schema.Value
	labels.OneOf = append(labels.OneOf, labels.OneOf[0].Value.Properties["labels"])
	// "Returns workflow runs created within the given date-time range", in the syntax of a search.
	runs := d.doc.Paths.Value("/repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs").Get
	runs.Parameters.GetByInAndName("query", "created").Schema.Value.Format = ""
}

func newTemplate(path string) template {
	t := template{path: path, literals: strings.Count(path, "/") - strings.Count(path, "{")}
	expr := strings.NewReplacer(`\{`, "{", `\}`, "}").Replace(regexp.QuoteMeta(path))
	for _, m := range parameter.FindAllStringSubmatch(path, -1) {
		t.names = append(t.names, m[1])
		group := "([^/]+)"
		if strings.HasSuffix(path, m[0]) && longParameters[m[1]] {
			group = "(.+)"
		}
		expr = strings.Replace(expr, m[0], group, 1)
	}
	t.pattern = regexp.MustCompile("^" + expr + "$")
	return t
}

// find returns the operation of a request: the path with the most literal segments that matches.
func (d *description) find(r *http.Request) (*routers.Route, map[string]string, error) {
	escaped := strings.TrimPrefix(r.URL.EscapedPath(), base)
	var best *template
	for i, t := range d.paths {
		if t.pattern.MatchString(escaped) && d.doc.Paths.Value(t.path).GetOperation(r.Method) != nil && (best == nil || t.literals > best.literals) {
			best = &d.paths[i]
		}
	}
	if best == nil {
		return nil, nil, fmt.Errorf("undocumented: %s %s", r.Method, escaped)
	}
	params := map[string]string{}
	for i, value := range best.pattern.FindStringSubmatch(escaped)[1:] {
		value, err := url.PathUnescape(value)
		if err != nil {
			return nil, nil, err
		}
		params[best.names[i]] = value
	}
	item := d.doc.Paths.Value(best.path)
	op := item.GetOperation(r.Method)
	if !d.strict[op] {
		d.strict[op] = true
		restrict(op)
	}
	return &routers.Route{Spec: d.doc, Path: best.path, PathItem: item, Method: r.Method, Operation: op}, params, nil
}

// request validates a request, and returns its documented path and operation; nil if there is none.
func (d *description) request(r *http.Request) (*openapi3filter.RequestValidationInput, error) {
	route, params, err := d.find(r)
	if err != nil {
		return nil, err
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true}
	options.WithCustomSchemaErrorFunc(place)
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	for name := range r.URL.Query() {
		if route.Operation.Parameters.GetByInAndName("query", name) == nil && route.PathItem.Parameters.GetByInAndName("query", name) == nil {
			return in, fmt.Errorf("undocumented query parameter %q", name)
		}
	}
	return in, openapi3filter.ValidateRequest(context.Background(), in)
}

// response validates a response. GitHub documents few of the errors that every operation can have: the others have the body of an error.
func (d *description) response(op *openapi3.Operation, x *exchange) error {
	var schemas openapi3.SchemaRefs
	switch documented := op.Responses.Status(x.Status); {
	case documented != nil:
		for _, media := range documented.Value.Content {
			schemas = append(schemas, media.Schema)
		}
	case x.Status == http.StatusNotModified && x.RequestHeader.Get("If-None-Match") != "":
	case x.Status >= http.StatusBadRequest:
		schemas = openapi3.SchemaRefs{d.doc.Components.Schemas["basic-error"]}
	default:
		return errors.New("undocumented status")
	}
	if len(schemas) == 0 {
		if len(x.Answer) > 0 {
			return errors.New("a body where GitHub documents none")
		}
		return nil
	}
	var body any
	if err := json.Unmarshal(x.Answer, &body); err != nil {
		return err
	}
	var problems []error
	for _, schema := range schemas {
		err := schema.Value.VisitJSON(body, openapi3.VisitAsResponse(), openapi3.EnableFormatValidation(), openapi3.SetSchemaErrorMessageCustomizer(place))
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// place words an error without the schema and the value.
func place(err *openapi3.SchemaError) string {
	return fmt.Sprintf("%s at /%s", err.Reason, strings.Join(err.JSONPointer(), "/"))
}

// restrict makes the schemas of an operation refuse undocumented properties. A response may lack documented ones: the test forge sends
// only those that imagefactory reads.
func restrict(op *openapi3.Operation) {
	if op.RequestBody != nil {
		for _, media := range op.RequestBody.Value.Content {
			newStrict(false).apply(media.Schema, false)
		}
	}
	for _, response := range op.Responses.Map() {
		for _, media := range response.Value.Content {
			newStrict(true).apply(media.Schema, false)
		}
	}
}

// strictness changes schemas so that they refuse undocumented properties.
type strictness struct {
	partial bool // permit that properties are missing
	seen    map[*openapi3.Schema]bool
}

func newStrict(partial bool) strictness {
	return strictness{partial: partial, seen: map[*openapi3.Schema]bool{}}
}

// apply changes a schema. A part of an allOf must permit the properties of the other parts.
func (s strictness) apply(ref *openapi3.SchemaRef, part bool) {
	if ref == nil || ref.Value == nil || s.seen[ref.Value] {
		return
	}
	schema := ref.Value
	s.seen[schema] = true
	if len(schema.Properties) > 0 && !part && schema.AdditionalProperties.Schema == nil {
		schema.AdditionalProperties.Has = new(false)
	}
	if s.partial {
		schema.Required, schema.Discriminator = nil, nil
		schema.AnyOf, schema.OneOf = append(schema.AnyOf, schema.OneOf...), nil // without required properties, several can match
	}
	for _, property := range schema.Properties {
		s.apply(property, false)
	}
	s.apply(schema.Items, false)
	for _, p := range schema.AllOf {
		s.apply(p, true)
	}
	for _, p := range append(schema.AnyOf, schema.OneOf...) {
		s.apply(p, len(schema.Properties) > 0)
	}
}
