package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

const maxTitle = 150

// title returns one line about events.
func title(events []Event) string {
	text := events[0].Text
	if len(events) > 1 {
		text = plural.Count(len(events), "event")
	}
	return sanitize.Cut("imagefactory: "+text, maxTitle)
}

// lines returns the events as plain text, one line each, and another for the command and the URL of each.
func lines(events []Event, source string) []string {
	var out []string
	for i := range events[:min(len(events), maxListed)] {
		e := &events[i]
		out = append(out, e.Text)
		if e.Fix != "" {
			out = append(out, "to do: "+e.Fix)
		}
		if e.URL != "" {
			out = append(out, "run: "+e.URL)
		}
	}
	if more := len(events) - maxListed; more > 0 {
		out = append(out, fmt.Sprintf("and %s more", plural.Count(more, "event")))
	}
	return append(out, "state: "+source)
}

// slackMessage returns the body for an incoming webhook of Slack. Its text is not formatted, so only the characters of mentions and links
// are escaped.
func slackMessage(events []Event, source string) any {
	text := strings.Join(append([]string{title(events)}, lines(events, source)...), "\n")
	if len(events) == 1 {
		text = strings.Join(lines(events, source), "\n")
	}
	return map[string]any{
		"text": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false,
	}
}

// teamsMessage returns the body for the webhook of a workflow of Teams: an Adaptive Card. Its runs of text are not formatted.
func teamsMessage(events []Event, source string) any {
	paragraph := func(text string, bold bool) map[string]any {
		run := map[string]any{"type": "TextRun", "text": text}
		if bold {
			run["weight"] = "Bolder"
		}
		return map[string]any{"type": "RichTextBlock", "inlines": []any{run}}
	}
	body := []any{paragraph(title(events), true)}
	for _, line := range lines(events, source) {
		body = append(body, paragraph(line, false))
	}
	return map[string]any{"type": "message", "attachments": []any{map[string]any{
		"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil,
		"content": map[string]any{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body},
	}}}
}

// matrixMessage returns the content of a message for a room of Matrix. It mentions nobody, whatever its text holds.
func matrixMessage(events []Event, source string) any {
	return map[string]any{"msgtype": "m.notice", "body": strings.Join(lines(events, source), "\n"), "m.mentions": map[string]any{}}
}

// cloudEvent is an event in the JSON format of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        string          `json:"time"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
}

// eventType is the prefix of the types of CloudEvents.
const eventType = "io.github.imagefactory."

// newCloudEvent returns an event for a webhook.
func newCloudEvent(e *Event, source string) (*cloudEvent, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	subject := e.Image
	if subject == "" {
		subject = e.Base
	}
	return &cloudEvent{"1.0", e.ID, source, eventType + string(e.Kind), subject, e.Time.Format(time.RFC3339), "application/json", data}, nil
}

// testKind is the kind of the event of [Notifier.Test].
const testKind config.Event = "test"
