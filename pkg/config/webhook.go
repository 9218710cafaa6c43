package config

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// WebhookRequest is the HTTP request that starts a build. Its body is JSON, so that no value can change its structure.
type WebhookRequest struct {
	URL     string                    `yaml:"url" jsonschema:"required" jsonschema_description:"https URL that starts a build."`
	Method  string                    `yaml:"method" jsonschema:"enum=POST,enum=PUT" jsonschema_description:"Default POST."`
	Query   map[string]string         `yaml:"query" jsonschema_description:"Parameters of the query, with the same placeholders as inputs."`
	Headers map[string]*WebhookHeader `yaml:"headers" jsonschema_description:"Headers: a text with the same placeholders as inputs, or a key of a Secret."`
	Body    *WebhookBody              `yaml:"body" jsonschema_description:"Body, sent as JSON; its texts may have the same placeholders as inputs."`
	Success WebhookSuccess            `yaml:"success" jsonschema_description:"Which response means that the build was accepted. Default: any status 2xx."`
}

// WebhookHeader is the value of a header: a text, or a key of a Secret after a prefix.
type WebhookHeader struct {
	Text   string         `yaml:"-"`
	Secret *WebhookSecret `yaml:"-"`
}

// WebhookSecret is a key of a Secret in the Project's namespace.
type WebhookSecret struct {
	Secret string `yaml:"secret" jsonschema:"required" jsonschema_description:"Name of the Secret."`
	Key    string `yaml:"key" jsonschema:"required" jsonschema_description:"Key in the Secret."`
	Prefix string `yaml:"prefix" jsonschema_description:"Text before the value, such as Bearer and a space."`
}

// WebhookBody is a value of JSON: nil, bool, int64, float64, string, []any or map[string]any.
type WebhookBody struct{ Value any }

// WebhookSuccess is which response means that a build was accepted.
type WebhookSuccess struct {
	Status []int             `yaml:"status" jsonschema_description:"Accepted statuses. Default: any 2xx."`
	Body   map[string]string `yaml:"body" jsonschema_description:"Values that the JSON of the response must have, by their path, such as data.state."`
}

const (
	maxWebhook = 32 << 10 // bytes of all its texts
	maxDepth   = 20       // of its body
)

var (
	headerName = lazy.Regexp(`^[A-Za-z][-A-Za-z0-9]*$`)
	bodyPath   = lazy.Regexp(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
)

func (h *WebhookHeader) decodeNode(d *decoder, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.ScalarNode:
		h.Text = n.Value
	case yaml.MappingNode:
		h.Secret = &WebhookSecret{}
		d.decodeInto(n, h.Secret, path)
	default:
		d.add(finding.BadValue, n, path+": want a text, not "+describe(n), "reference a key of a Secret as {secret: NAME, key: KEY}")
	}
}

// JSONSchema returns the schema of both forms.
func (WebhookHeader) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}, {Ref: "#/$defs/WebhookSecret"}}}
}

func (b *WebhookBody) decodeNode(d *decoder, n *yaml.Node, path string) {
	b.Value = jsonValue(d, n, path, 0)
}

// JSONSchema returns the schema of any value.
func (WebhookBody) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{} }

// jsonValue converts a node to a value of JSON.
func jsonValue(d *decoder, n *yaml.Node, path string, depth int) any {
	if depth > maxDepth {
		d.add(finding.BadValue, n, fmt.Sprintf("%s: nested more than %d times", path, maxDepth), "")
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		d.eachPair(n, path, func(key, value *yaml.Node) { out[key.Value] = jsonValue(d, value, join(path, key.Value), depth+1) })
		return out
	case yaml.SequenceNode:
		out := []any{}
		for i, item := range n.Content {
			out = append(out, jsonValue(d, item, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return out
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
	case "!!float":
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
	default:
		return n.Value
	}
	d.add(finding.BadValue, n, fmt.Sprintf("%s: %s has no form in JSON", path, n.Value), "quote it to send a text")
	return nil
}

// Texts calls fn for every text that may have placeholders, with the place of the text below webhook.
func (w *WebhookRequest) Texts(fn func(at, text string)) {
	if w == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.Query)) {
		fn("query."+name, w.Query[name])
	}
	for _, name := range slices.Sorted(maps.Keys(w.Headers)) {
		if h := w.Headers[name]; h != nil && h.Secret == nil {
			fn("headers."+name, h.Text)
		}
	}
	if w.Body != nil {
		bodyTexts("body", w.Body.Value, fn)
	}
}

func bodyTexts(at string, value any, fn func(at, text string)) {
	switch v := value.(type) {
	case string:
		fn(at, v)
	case []any:
		for i, item := range v {
			bodyTexts(fmt.Sprintf("%s[%d]", at, i), item, fn)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			bodyTexts(at+"."+key, v[key], fn)
		}
	}
}

// webhook checks the request of an entry.
func (v *validator) webhook(n *yaml.Node, at string, w *WebhookRequest) {
	if w == nil || n == nil || n.Kind != yaml.MappingNode {
		return
	}
	bad := func(key, why, fix string) {
		v.add(finding.BadValue, orNode(child(n, key), n), fmt.Sprintf("%s.%s: %s", at, key, why), fix)
	}
	if w.URL == "" {
		v.missing(n, "url", at+": url is missing")
	} else if err := checkWebhookURL(w.URL); err != nil {
		bad("url", err.Error(), "")
	}
	if w.Method != "" && w.Method != http.MethodPost && w.Method != http.MethodPut {
		bad("method", fmt.Sprintf("invalid method %q", w.Method), "want POST or PUT")
	}
	size := 0
	w.Texts(func(place, text string) {
		size += len(text)
		key, name, _ := strings.Cut(strings.ReplaceAll(place, "[", "."), ".")
		if key == "query" && holdsSecret(name, text) && isLiteral(text) || key == "body" && holdsSecret("", text) {
			v.add(finding.BadValue, orNode(child(n, key), n), fmt.Sprintf("%s.%s: a secret does not belong into images.yaml", at, place), "send it in a header, as {secret: NAME, key: KEY}")
		}
		v.unknownPlaceholders(orNode(child(n, key), n), at+"."+place, text, placeholders)
	})
	if size > maxWebhook {
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %d bytes of texts; at most %d are possible", at, size, maxWebhook), "")
	}
	v.webhookHeaders(child(n, "headers"), at+".headers", w.Headers)
	for i, status := range w.Success.Status {
		if status < 200 || status > 299 {
			v.add(finding.BadValue, item(child(child(n, "success"), "status"), i), fmt.Sprintf("%s.success.status[%d]: invalid status %d", at, i, status), "want 200 to 299")
		}
	}
	for path := range w.Success.Body {
		if !bodyPath().MatchString(path) {
			v.add(finding.BadValue, keyNode(child(child(n, "success"), "body"), path), fmt.Sprintf("%s.success.body: invalid path %q", at, path), "want names with dots between them, such as data.state")
		}
	}
}

func (v *validator) webhookHeaders(n *yaml.Node, at string, headers map[string]*WebhookHeader) {
	spelled := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		h, key, value := headers[name], keyNode(n, name), child(n, name)
		if spelled[http.CanonicalHeaderKey(name)] {
			v.add(finding.Duplicate, key, fmt.Sprintf("%s: duplicate header %q", at, name), "the case of a name does not count")
		}
		spelled[http.CanonicalHeaderKey(name)] = true
		switch {
		case !headerName().MatchString(name), slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Connection"}, http.CanonicalHeaderKey(name)):
			v.add(finding.BadValue, key, fmt.Sprintf("%s: invalid header %q", at, name), "")
		case h == nil:
			v.add(finding.Missing, orNode(key, n), at+"."+name+": no value", "give a value, \"\" for an empty one, or {secret: NAME, key: KEY}")
		case h.Secret != nil:
			v.secret(value, at+"."+name, &SecretKey{Secret: h.Secret.Secret, Key: h.Secret.Key})
			if !headerText(h.Secret.Prefix) {
				v.add(finding.BadValue, value, fmt.Sprintf("%s.%s.prefix: want printable ASCII", at, name), "")
			}
		case headerSecret().MatchString(name+"=") && isLiteral(h.Text), holdsSecret("", h.Text):
			v.add(finding.BadValue, value, fmt.Sprintf("%s.%s: a secret does not belong into images.yaml", at, name), "reference a key of a Secret as {secret: NAME, key: KEY}")
		case h.Text == "" || !headerText(h.Text):
			v.add(finding.BadValue, value, fmt.Sprintf("%s.%s: want printable ASCII", at, name), "")
		}
	}
}

// isLiteral reports whether a text has more than placeholders.
func isLiteral(text string) bool {
	return strings.TrimSpace(placeholder().ReplaceAllString(text, "")) != ""
}

func headerText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// checkWebhookURL accepts https URLs, and http ones of this machine, without credentials.
func checkWebhookURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Host == "", u.Opaque != "", strings.ContainsAny(s, "{}\"' \\<>`"):
		return fmt.Errorf("invalid URL %s: want one such as https://ci.example.com/start", shown(s))
	case hostname.IsLinkLocal(u.Host):
		return linkLocal(u.Host)
	case u.User != nil:
		return fmt.Errorf("the URL of host %q contains credentials; put them into a header, as a key of a Secret", u.Host)
	case u.Scheme != "https" && (u.Scheme != "http" || !hostname.IsLoopback(u.Host)):
		return fmt.Errorf("the URL of host %q has another scheme than https", u.Host)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("the URL of host %q has a query or a fragment; use the key query", u.Host)
	}
	return nil
}

// RefusesForGood reports whether a webhook that answers with a status would refuse the same request again. Other statuses 4xx may come
// from a gateway, or from a token that is being replaced. Package kargo has the same rule.
func RefusesForGood(status int) bool { return slices.Contains(webhookRefusals, status) }

var webhookRefusals = []int{
	http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	http.StatusUnprocessableEntity,
}

// WebhookRefusals returns the statuses for which [RefusesForGood] is true.
func WebhookRefusals() []int { return slices.Clone(webhookRefusals) }

// SecretVariable returns the name of the environment variable that holds a key of a Secret for `promote --direct`.
func SecretVariable(secret, key string) string {
	return "IMAGEFACTORY_SECRET_" + variablePart(secret) + "__" + variablePart(key)
}

func variablePart(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(s))
}
