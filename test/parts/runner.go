package parts

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Runner is a runner of Gitea Actions that runs nothing: who takes a task decides how it ends. It speaks the JSON form of the
// protocol.
type Runner struct {
	gitea       *Gitea
	uuid, token string
	beat        time.Duration
}

// Task is a job of a workflow run.
type Task struct {
	ID       string            `json:"id"`
	Workflow []byte            `json:"workflowPayload"` // the workflow with this job alone
	Secrets  map[string]string `json:"secrets"`
	Context  struct {
		RunID      string `json:"run_id"`
		RunNumber  string `json:"run_number"`
		Repository string `json:"repository"`
		SHA        string `json:"sha"`
		Ref        string `json:"ref"`
		RefName    string `json:"ref_name"`
		BaseRef    string `json:"base_ref"` // of a pull request
		EventName  string `json:"event_name"`
		ServerURL  string `json:"server_url"`
		Token      string `json:"token"` // for the duration of the job
		Event      struct {
			Inputs     map[string]string `json:"inputs"`
			HeadCommit struct {
				Author struct {
					Name string `json:"name"`
				} `json:"author"`
			} `json:"head_commit"`
		} `json:"event"`
	} `json:"context"`
}

// NewRunner registers a runner for jobs that run on ubuntu-latest: those of an organization, or of all repositories if it is empty.
func (g *Gitea) NewRunner(ctx context.Context, organization string) (*Runner, error) {
	owner := "admin"
	if organization != "" {
		owner = "orgs/" + organization
	}
	var registration struct {
		Token string `json:"token"`
	}
	if err := g.Call(ctx, http.MethodPost, owner+"/actions/runners/registration-token", nil, &registration); err != nil {
		return nil, err
	}
	r := &Runner{gitea: g, beat: time.Minute}
	var response struct {
		Runner struct{ UUID, Token string } `json:"runner"`
	}
	err := r.call(ctx, "Register", map[string]any{"name": "test", "token": registration.Token, "version": "test", "labels": []string{"ubuntu-latest"}}, &response)
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

// Heartbeat reports every minute that a task runs, until stop is called. Gitea ends a task without a report for ten minutes.
func (r *Runner) Heartbeat(ctx context.Context, at *Task) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(r.beat)
	var reports sync.WaitGroup
	reports.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = r.call(ctx, "UpdateTask", map[string]any{"state": map[string]any{"id": at.ID}}, nil) // the next one may succeed
			}
		}
	})
	return func() {
		cancel()
		ticker.Stop()
		reports.Wait()
	}
}

// Result is how a task ends.
type Result string

// The results of tasks.
const (
	Success Result = "RESULT_SUCCESS"
	Failure Result = "RESULT_FAILURE"
	Skipped Result = "RESULT_SKIPPED"
)

// End ends a task.
func (r *Runner) End(ctx context.Context, at *Task, result Result) error {
	now := time.Now().UTC().Format(time.RFC3339)
	return r.call(ctx, "UpdateTask", map[string]any{
		"state": map[string]any{"id": at.ID, "result": result, "startedAt": now, "stoppedAt": now},
	}, nil)
}
