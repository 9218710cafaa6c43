package parts

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestHeartbeat(t *testing.T) {
	reports := make(chan map[string]any)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			State map[string]any `json:"state"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/api/actions/runner.v1.RunnerService/UpdateTask" {
			t.Error(r.URL, err)
		}
		select {
		case reports <- body.State:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	runner := &Runner{gitea: &Gitea{Host: server.Listener.Addr().String()}, beat: time.Millisecond}
	stop := runner.Heartbeat(t.Context(), &Task{ID: "7"})
	for range 3 {
		if got := <-reports; len(got) != 1 || got["id"] != "7" {
			t.Errorf("report %v", got)
		}
	}
	stop()
}
