package parts

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Runner is a runner of Gitea Actions that runs nothing: who takes a task decides how it ends. It speaks the JSON form of the
// protocol.
type Runner struct {
	gitea       *Gitea
	uuid, token string
}

// Task is a job of a workflow run.
type Task struct {
	ID       string `json:"id"`
	Workflow []byte `json:"workflowPayload"` // the workflow with this job alone
	Context  struct {
		RunID      string `json:"run_id"`
		Repository string `json:"repository"`
		SHA        string `json:"sha"`
		Event      struct {
			Inputs map[string]string `json:"inputs"`
		} `json:"event"`
	} `json:"context"`
}

// NewRunner registers a runner for the jobs of all repositories that run on ubuntu-latest.
func (g *Gitea) NewRunner(ctx context.Context) (*Runner, error) {
	secret, err := g.Run(ctx, "actions", "generate-runner-token")
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(secret)
	r := &Runner{gitea: g}
	var response struct {
		Runner struct{ UUID, Token string } `json:"runner"`
	}
	err = r.call(ctx, "Register", map[string]any{"name": "test", "token": lines[len(lines)-1], "version": "test", "labels": []string{"ubuntu-latest"}}, &response)
	r.uuid, r.token = response.Runner.UUID, response.Runner.Token
	return r, err
}

func (r *Runner) call(ctx context.Context, method string, body, into any) error {
	header := http.Header{"X-Runner-Uuid": {r.uuid}, "X-Runner-Token": {r.token}}
	return callJSON(ctx, http.MethodPost, "http://"+r.gitea.Host+"/api/actions/runner.v1.RunnerService/"+method, header, body, into)
}

// Next returns the next task, or nil if none comes within ten seconds.
func (r *Runner) Next(ctx context.Context) (*Task, error) {
	for range 100 {
		var response struct {
			Task *Task `json:"task"`
		}
		if err := r.call(ctx, "FetchTask", map[string]any{}, &response); err != nil || response.Task != nil {
			return response.Task, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil, nil
}

// End ends a task as success or failure.
func (r *Runner) End(ctx context.Context, at *Task, success bool) error {
	result := "RESULT_FAILURE"
	if success {
		result = "RESULT_SUCCESS"
	}
	now := time.Now().UTC().Format(time.RFC3339)
	return r.call(ctx, "UpdateTask", map[string]any{
		"state": map[string]any{"id": at.ID, "result": result, "startedAt": now, "stoppedAt": now},
	}, nil)
}
