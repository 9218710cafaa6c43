package loop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// forge is GitHub's API as far as starting and following a workflow needs it.
type forge struct {
	host string
	now  func() time.Time

	mu   sync.Mutex
	runs []*run
}

// run is a workflow run.
type run struct {
	id      int
	repo    string
	inputs  map[string]string
	created time.Time
	ended   string // its conclusion
}

func newForge(t *testing.T, now func() time.Time) *forge {
	f := &forge{now: now}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v3/repos/{owner}/{repo}/actions/workflows/{file}/dispatches", f.dispatch)
	mux.HandleFunc("GET /api/v3/repos/{owner}/{repo}/actions/runs/{id}", f.show)
	mux.HandleFunc("GET /api/v3/repos/{owner}/{repo}/actions/workflows/{file}/runs", f.list)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.host = server.Listener.Addr().String()
	return f
}

func (f *forge) dispatch(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Inputs  map[string]string `json:"inputs"`
		Details bool              `json:"return_run_details"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	run := &run{id: len(f.runs) + 1, repo: r.PathValue("owner") + "/" + r.PathValue("repo"), inputs: body.Inputs, created: f.now()}
	f.runs = append(f.runs, run)
	if !body.Details {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	respond(w, map[string]any{"workflow_run_id": run.id, "run_url": f.url(run), "html_url": f.url(run)})
}

func (f *forge) show(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, run := range f.runs {
		if strconv.Itoa(run.id) == r.PathValue("id") {
			respond(w, f.json(run))
			return
		}
	}
	http.Error(w, `{"message": "Not Found"}`, http.StatusNotFound)
}

func (f *forge) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	runs := []any{}
	for _, run := range f.runs {
		if run.repo == r.PathValue("owner")+"/"+r.PathValue("repo") {
			runs = append(runs, f.json(run))
		}
	}
	respond(w, map[string]any{"total_count": len(runs), "workflow_runs": runs})
}

func (f *forge) url(r *run) string {
	return fmt.Sprintf("http://%s/%s/actions/runs/%d", f.host, r.repo, r.id)
}

func (f *forge) json(r *run) map[string]any {
	out := map[string]any{
		"id": r.id, "html_url": f.url(r), "status": "in_progress", "conclusion": nil, "event": "workflow_dispatch",
		"display_title": "build", "head_branch": "main", "created_at": r.created.UTC().Format(time.RFC3339),
	}
	if r.ended != "" {
		out["status"], out["conclusion"] = "completed", r.ended
	}
	return out
}

// waiting returns the runs that have not ended, oldest first.
func (f *forge) waiting() []*run {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*run
	for _, run := range f.runs {
		if run.ended == "" {
			out = append(out, run)
		}
	}
	return out
}

// end ends a run.
func (f *forge) end(r *run, conclusion string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ended = conclusion
}

func respond(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
