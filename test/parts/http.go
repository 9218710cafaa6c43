package parts

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// StatusError is a response without success.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Code, e.Text) }

// exchange sends a request, and decodes the response unless into is nil.
func exchange(client *http.Client, req *http.Request, into any) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Redacted(), &StatusError{resp.StatusCode, string(text)})
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}
