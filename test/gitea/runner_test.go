package gitea_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runner is a runner of Gitea Actions that runs nothing: a test decides how each task ends. It speaks the JSON form of the protocol.
type runner struct {
	host        string
	uuid, token string
}

// task is a job of a workflow run.
type task struct {
	ID      string `json:"id"`
	Context struct {
		RunID string `json:"run_id"`
		Event struct {
			Inputs map[string]string `json:"inputs"`
		} `json:"event"`
	} `json:"context"`
}

// newRunner registers a runner for the jobs of all repositories.
func newRunner(t *testing.T, g *gitea) *runner {
	t.Helper()
	secret, err := g.command(t.Context(), "actions", "generate-runner-token")
	require.NoError(t, err)
	lines := strings.Fields(secret)
	r := &runner{host: g.host}
	var response struct {
		Runner struct{ UUID, Token string } `json:"runner"`
	}
	require.NoError(t, r.call(t.Context(), "Register", map[string]any{"name": "test", "token": lines[len(lines)-1], "version": "test", "labels": []string{"ubuntu-latest"}}, &response))
	r.uuid, r.token = response.Runner.UUID, response.Runner.Token
	return r
}

func (r *runner) call(ctx context.Context, method string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.host+"/api/actions/runner.v1.RunnerService/"+method, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Runner-Uuid", r.uuid)
	req.Header.Set("X-Runner-Token", r.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", method, resp.Status, text)
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}

// next returns the next task.
func (r *runner) next(t *testing.T) task {
	t.Helper()
	for range 100 {
		var response struct {
			Task *task `json:"task"`
		}
		require.NoError(t, r.call(t.Context(), "FetchTask", map[string]any{}, &response))
		if response.Task != nil {
			return *response.Task
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.NoError(t, errors.New("no task"))
	return task{}
}

// end ends a task as success or failure.
func (r *runner) end(t *testing.T, at task, success bool) {
	t.Helper()
	result := "RESULT_FAILURE"
	if success {
		result = "RESULT_SUCCESS"
	}
	now := time.Now().UTC().Format(time.RFC3339)
	require.NoError(t, r.call(t.Context(), "UpdateTask", map[string]any{
		"state": map[string]any{"id": at.ID, "result": result, "startedAt": now, "stoppedAt": now},
	}, nil))
}
