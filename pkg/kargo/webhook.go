package kargo

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// WebhookTask returns the name of the PromotionTask that starts builds of an image by a webhook. Requests differ in more than values, so
// each image has a task of its own.
func WebhookTask(image string) string { return "webhook-" + image }

// webhookTask returns the PromotionTask that sends the request of an image.
func webhookTask(b *builder, img *config.Image, sources []source) *PromotionTask {
	t := &PromotionTask{Header: b.header(kargoAPI, "PromotionTask", WebhookTask(img.Name)), Spec: PromotionTaskSpec{Steps: webhookSteps(img, sources)}}
	t.Metadata.Labels = imageLabels(img)
	about := "Starts a build of " + shown(img.Ref()) + " by a webhook"
	t.Metadata.Annotations, t.comment = Annotations{syncWave: waveShared, description: about}, about+"."
	return t
}

func webhookSteps(img *config.Image, sources []source) []Step {
	hook := img.Source.Webhook
	var steps []Step
	var headers []HTTPHeader
	t := newTemplates(img, sources)
	if hook.Body != nil {
		headers = append(headers, HTTPHeader{"Content-Type", "application/json"})
	}
	for _, name := range slices.Sorted(maps.Keys(hook.Headers)) {
		h := hook.Headers[name]
		if h.Secret == nil {
			headers = append(headers, HTTPHeader{name, exactly(t.alone(h.Text))})
			continue
		}
		secret := "trim(secret(" + literal(h.Secret.Secret) + ")[" + literal(h.Secret.Key) + "])"
		headers = append(headers, HTTPHeader{name, exactly(literal(h.Secret.Prefix) + " + " + secret)})
		steps = append(steps, Step{
			As: fmt.Sprintf("secret-%d", len(steps)+1), If: value(secret + " == ''"), Uses: "fail",
			Config: map[string]string{"message": text(fmt.Sprintf("Secret %s has no key %s: create it with the value of the header %s", h.Secret.Secret, h.Secret.Key, name))},
		})
	}
	body := ""
	if hook.Body != nil {
		body = value(t.with("quote(" + t.json(hook.Body.Value) + ")"))
	}
	success := webhookSuccess(&hook.Success)
	return append(steps, Step{As: DispatchStep, If: value("success() && " + unsent), Retry: dispatchRetry(), Uses: "http", Config: HTTPConfig{
		Method: hook.Method, URL: t.webhookURL(hook), Headers: headers, Body: body, Timeout: requestTimeout, PollInterval: dispatchInterval,
		SuccessExpression: success,
		FailureExpression: "!(" + success + ") && (response.status < 400 || response.status in [" + joined(config.WebhookRefusals()) + "])",
		ErrorExpression:   literal(img.Source.BuildHost()+" answered ") + " + string(response.status)",
		Outputs:           []HTTPOutput{{"run", literal(UnknownRun)}},
	}})
}

// webhookSuccess returns the expression that is true for a response which accepts the build.
func webhookSuccess(s *config.WebhookSuccess) string {
	conditions := []string{accepted}
	if len(s.Status) > 0 {
		conditions[0] = "response.status in [" + joined(s.Status) + "]"
	}
	if len(s.Body) > 0 {
		conditions = append(conditions, isMap)
	}
	for _, path := range slices.Sorted(maps.Keys(s.Body)) {
		at := "response.body?." + strings.ReplaceAll(path, ".", "?.")
		conditions = append(conditions, at+" != nil && string("+at+") == "+literal(s.Body[path]))
	}
	return strings.Join(conditions, " && ")
}

func joined(numbers []int) string {
	list := make([]string, len(numbers))
	for i, n := range numbers {
		list[i] = strconv.Itoa(n)
	}
	return strings.Join(list, ", ")
}

// alone compiles a text into an expression that needs nothing before it.
func (t *templates) alone(s string) string {
	one := *t
	one.used = false
	return one.with(one.compile(s))
}

// webhookURL returns the URL with its query. The values of placeholders need no escaping in a query.
func (t *templates) webhookURL(hook *config.WebhookRequest) string {
	if len(hook.Query) == 0 {
		return hook.URL
	}
	one := *t
	one.used = false
	var parts []string
	before := hook.URL + "?"
	for _, name := range slices.Sorted(maps.Keys(hook.Query)) {
		parts = append(parts, literal(before+url.QueryEscape(name)+"="))
		for _, p := range config.Parts(hook.Query[name]) {
			if p.Placeholder != "" {
				parts = append(parts, one.expression(p.Placeholder))
			} else {
				parts = append(parts, literal(url.QueryEscape(p.Text)))
			}
		}
		before = "&"
	}
	return exactly(one.with(strings.Join(parts, " + ")))
}

// json compiles a value of JSON into an expression.
func (t *templates) json(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return t.compile(v)
	case []any:
		list := make([]string, len(v))
		for i := range v {
			list[i] = t.json(v[i])
		}
		return "[" + strings.Join(list, ", ") + "]"
	case map[string]any:
		var list []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			list = append(list, literal(key)+": "+t.json(v[key]))
		}
		return "{" + strings.Join(list, ", ") + "}"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
