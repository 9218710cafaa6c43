package forgetest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
)

// RecordVariable names the folder in which servers record their exchanges, one JSON object a line. test/githubapi validates them.
const RecordVariable = "FORGETEST_RECORD"

// exchange is a request to the forge and its response.
type exchange struct {
	http.ResponseWriter `json:"-"`

	Test          string
	Method, URL   string
	RequestHeader http.Header
	Body          []byte
	Status        int
	Answer        []byte
	Fault         bool // the test replaced the response of the forge, or the connection broke
}

// record returns a handler that records every exchange of a handler in a file of its own below dir.
func record(t testing.TB, dir string, h http.Handler) http.Handler {
	f, err := os.CreateTemp(dir, "*.jsonl")
	if err != nil {
		t.Fatalf("recording the exchanges of the forge: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		x := &exchange{ResponseWriter: w, Test: t.Name(), Method: r.Method, URL: r.URL.RequestURI(), RequestHeader: r.Header.Clone(), Body: body, Fault: err != nil}
		r.Body = io.NopCloser(bytes.NewReader(body))
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			x.Fault = x.Fault || x.Status == 0
			if err := json.NewEncoder(f).Encode(x); err != nil {
				t.Errorf("recording the exchanges of the forge: %v", err)
			}
		}()
		h.ServeHTTP(x, r)
	})
}

// fault marks the response of a recorded exchange as one that the test chose.
func fault(w http.ResponseWriter) {
	if x, ok := w.(*exchange); ok {
		x.Fault = true
	}
}

// WriteHeader records the status.
func (x *exchange) WriteHeader(status int) {
	x.Status = status
	x.ResponseWriter.WriteHeader(status)
}

// Write records the body.
func (x *exchange) Write(data []byte) (int, error) {
	if x.Status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	x.Answer = append(x.Answer, data...)
	return x.ResponseWriter.Write(data)
}
