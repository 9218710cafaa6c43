// Package githubapi_test compares the requests that imagefactory sends to GitHub, and the responses of the test forge, with GitHub's
// published description of its REST API. GITHUB_API names the description (`make githubapi` fetches it).
package githubapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tests are the arguments of `go test`: the packages that use the test forge, and the test of pkg/cli for tokens of GitHub Apps.
var tests = [][]string{
	{"./pkg/forge", "./pkg/source", "./pkg/trust", "./pkg/discover", "./pkg/propose", "./pkg/issues", "./pkg/doctor"},
	{"-run=AppToken", "./pkg/cli"},
}

// operations are those of GitHub's REST API that imagefactory uses.
var operations = []string{
	"GET /orgs/{org}/attestations/{subject_digest}",
	"GET /orgs/{org}/repos",
	"GET /rate_limit",
	"GET /repos/{owner}/{repo}",
	"GET /repos/{owner}/{repo}/actions/runs/{run_id}",
	"GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}",
	"GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs",
	"GET /repos/{owner}/{repo}/attestations/{subject_digest}",
	"GET /repos/{owner}/{repo}/branches/{branch}",
	"GET /repos/{owner}/{repo}/commits",
	"GET /repos/{owner}/{repo}/compare/{basehead}",
	"GET /repos/{owner}/{repo}/contents/{path}",
	"GET /repos/{owner}/{repo}/git/blobs/{file_sha}",
	"GET /repos/{owner}/{repo}/git/ref/{ref}",
	"GET /repos/{owner}/{repo}/git/trees/{tree_sha}",
	"GET /repos/{owner}/{repo}/issues",
	"GET /repos/{owner}/{repo}/pulls",
	"GET /repos/{owner}/{repo}/pulls/{pull_number}",
	"GET /users/{username}",
	"GET /users/{username}/attestations/{subject_digest}",
	"PATCH /repos/{owner}/{repo}/issues/{issue_number}",
	"PATCH /repos/{owner}/{repo}/pulls/{pull_number}",
	"POST /app/installations/{installation_id}/access_tokens",
	"POST /repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches",
	"POST /repos/{owner}/{repo}/issues",
	"POST /repos/{owner}/{repo}/issues/{issue_number}/assignees",
	"POST /repos/{owner}/{repo}/issues/{issue_number}/comments",
	"POST /repos/{owner}/{repo}/issues/{issue_number}/labels",
	"POST /repos/{owner}/{repo}/labels",
	"POST /repos/{owner}/{repo}/pulls",
	"POST /repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers",
}

// exchange is a line that test/forgetest records.
type exchange struct {
	Test          string
	Method, URL   string
	RequestHeader http.Header
	Body          []byte
	Status        int
	Answer        []byte
	Fault         bool
}

// The test runs the tests of the packages, while the test forge records what it receives and sends.
func TestExchangesAreAsGitHubDescribesThem(t *testing.T) {
	d := published(t)
	seen := map[string]bool{}
	problems := map[string]string{} // with the first test that has it
	for _, x := range exchanges(t) {
		if !strings.HasPrefix(x.URL, base+"/") {
			continue
		}
		operation, err := d.check(&x)
		seen[operation] = true
		if err != nil {
			problem := fmt.Sprintf("%s: %v", operation, err)
			if problems[problem] == "" {
				problems[problem] = x.Test
			}
		}
	}
	for problem, test := range problems {
		t.Errorf("%s\n\tin %s", problem, test)
	}
	assert.Equal(t, operations, slices.Sorted(maps.Keys(seen)), "the operations that the tests use")
}

func TestWhatGitHubDoesNotDescribeIsAProblem(t *testing.T) {
	d := published(t)
	const pulls = base + "/repos/acme/web/pulls"
	sent := http.Header{"Content-Type": {"application/json"}}
	for name, x := range map[string]exchange{
		"undocumented: GET":                 {Method: "GET", URL: pulls + "/1/nothing", Status: 404},
		"query parameter \"source\"":        {Method: "GET", URL: pulls + "?source=x", Status: 200, Answer: []byte(`[]`)},
		"parameter \"state\" in query":      {Method: "GET", URL: pulls + "?state=merged", Status: 200, Answer: []byte(`[]`)},
		"property \"target\" is":            {Method: "POST", URL: pulls, RequestHeader: sent, Body: []byte(`{"head":"a","base":"b","target":"c"}`), Status: 201, Answer: []byte(`{}`)},
		"property \"base\" is missing":      {Method: "POST", URL: pulls, RequestHeader: sent, Body: []byte(`{"head":"a"}`), Status: 201, Answer: []byte(`{}`)},
		"response 202: undocumented":        {Method: "GET", URL: pulls, Status: 202, Answer: []byte(`[]`)},
		"response 200: property \"iid\" is": {Method: "GET", URL: pulls + "/1", Status: 200, Answer: []byte(`{"iid":1}`)},
		"value must be an integer":          {Method: "GET", URL: pulls + "/1", Status: 200, Answer: []byte(`{"number":"1"}`)},
		"property \"error\" is":             {Method: "GET", URL: pulls + "/1", Status: 401, Answer: []byte(`{"error":"no"}`)},
	} {
		_, err := d.check(&x)
		assert.ErrorContains(t, err, name)
	}
}

// published returns GitHub's description. In CI a test fails without it.
func published(t *testing.T) *description {
	file := os.Getenv("GITHUB_API")
	if file == "" {
		require.NotEqual(t, "true", os.Getenv("CI"), "GITHUB_API is not set (`make githubapi` sets it)")
		t.Skip("GITHUB_API is not set (`make githubapi` sets it)")
	}
	d, err := load(file)
	require.NoError(t, err)
	return d
}

// check validates an exchange, and returns its operation.
func (d *description) check(x *exchange) (string, error) {
	r := httptest.NewRequest(x.Method, "http://api.example"+x.URL, bytes.NewReader(x.Body))
	maps.Copy(r.Header, x.RequestHeader)
	in, err := d.request(r)
	if in == nil {
		return x.Method + " " + x.URL, err
	}
	operation := x.Method + " " + in.Route.Path
	if err != nil {
		return operation, fmt.Errorf("request: %w", err)
	}
	if x.Fault {
		return operation, nil
	}
	if err := d.response(in.Route.Operation, x); err != nil {
		return operation, fmt.Errorf("response %d: %w", x.Status, err)
	}
	return operation, nil
}

// exchanges runs the tests of the packages, and returns what the test forge recorded.
func exchanges(t *testing.T) []exchange {
	dir := t.TempDir()
	for _, args := range tests {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-count=1", "-short"}, args...)...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "FORGETEST_RECORD="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	require.NoError(t, err)
	var list []exchange
	for _, file := range files {
		list = append(list, read(t, file)...)
	}
	return list
}

func read(t *testing.T, file string) []exchange {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	lines := json.NewDecoder(f)
	lines.DisallowUnknownFields()
	var list []exchange
	for {
		var x exchange
		err := lines.Decode(&x)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err, file)
		list = append(list, x)
	}
}
