package gitea_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gitea is a Gitea server on loopback, with one administrator.
type gitea struct {
	host  string
	token string // of the administrator acme

	dir   string // everything that the server reads and writes
	run   *syscall.SysProcAttr
	env   []string
	stops []func()
}

const settings = `APP_NAME = test
RUN_USER = %[1]s
WORK_PATH = %[2]s

[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[3]s
ROOT_URL = http://127.0.0.1:%[3]s/
STATIC_ROOT_PATH = %[2]s/static
DISABLE_SSH = true
OFFLINE_MODE = true

[database]
DB_TYPE = sqlite3
PATH = %[2]s/gitea.db

[repository]
ROOT = %[2]s/repositories

[security]
INSTALL_LOCK = true
SECRET_KEY = only-for-tests

[actions]
ENABLED = true

[indexer]
ISSUE_INDEXER_TYPE = db

[log]
LEVEL = Warn
`

// startGitea starts the program at a path. It runs as nobody if the test runs as root, which Gitea refuses.
func startGitea(ctx context.Context, program string) (_ *gitea, err error) {
	g := &gitea{}
	if g.dir, err = os.MkdirTemp("", "imagefactory-gitea-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.stop()
		}
	}()
	if err := g.install(ctx, program); err != nil {
		return nil, err
	}
	if _, err := g.command(ctx, "migrate"); err != nil {
		return nil, err
	}
	out, err := g.command(ctx, "admin", "user", "create", "--admin", "--username", "acme", "--random-password", "--email", "acme@acme.example",
		"--must-change-password=false", "--access-token", "--access-token-scopes", "all")
	if err != nil {
		return nil, err
	}
	if g.token = regexp.MustCompile(`\b[0-9a-f]{40}\b`).FindString(out); g.token == "" {
		return nil, errors.New("gitea printed no token")
	}
	return g, g.serve(ctx)
}

// install copies the program and the files that its module keeps beside it, where the user that runs it can read them.
func (g *gitea) install(ctx context.Context, program string) error {
	who, err := user.Current()
	if err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if who, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea").Output()
	if err != nil {
		return fmt.Errorf("finding the module of gitea: %w", err)
	}
	for _, folder := range []string{"templates", "options"} {
		if err := os.CopyFS(filepath.Join(g.dir, "static", folder), os.DirFS(filepath.Join(strings.TrimSpace(string(module)), folder))); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := os.WriteFile(g.path("gitea"), data, 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.host = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(g.host)
	if err := os.WriteFile(g.path("app.ini"), fmt.Appendf(nil, settings, who.Username, g.dir, port), 0o600); err != nil {
		return err
	}
	g.env = []string{"HOME=" + g.dir, "USER=" + who.Username, "PATH=" + os.Getenv("PATH")}
	if os.Getuid() != 0 {
		return nil
	}
	uid, _ := strconv.ParseUint(who.Uid, 10, 32)
	gid, _ := strconv.ParseUint(who.Gid, 10, 32)
	g.run = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	for _, path := range []string{g.dir, g.path("app.ini")} {
		if err := os.Chown(path, int(uid), int(gid)); err != nil {
			return err
		}
	}
	return nil
}

func (g *gitea) path(name string) string { return filepath.Join(g.dir, name) }

func (g *gitea) exec(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.path("gitea"), append([]string{"--config", g.path("app.ini")}, args...)...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = g.dir, g.env, g.run
	return cmd
}

// command runs a command of gitea and returns what it prints.
func (g *gitea) command(ctx context.Context, args ...string) (string, error) {
	out, err := g.exec(ctx, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gitea %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// serve starts the server and waits until it responds.
func (g *gitea) serve(ctx context.Context) error {
	log, err := os.Create(g.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	web := g.exec(ctx, "web")
	web.Stdout, web.Stderr = log, log
	if err := web.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = web.Wait() // its log says why
		close(ended)
	}()
	g.stops = append(g.stops, func() {
		_ = web.Process.Signal(os.Interrupt)
		<-ended
	})
	for range 600 {
		if g.call(ctx, http.MethodGet, "version", nil, nil) == nil {
			return nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(g.path("log"))
			return fmt.Errorf("gitea ended:\n%s", text)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("gitea does not respond")
}

// newToken returns a token of acme with some scopes.
func (g *gitea) newToken(t *testing.T, scopes string) string {
	t.Helper()
	out, err := g.command(t.Context(), "admin", "user", "generate-access-token", "--username", "acme", "--token-name", scopes, "--scopes", scopes, "--raw")
	require.NoError(t, err)
	lines := strings.Fields(out)
	return lines[len(lines)-1]
}

func (g *gitea) stop() {
	for _, stop := range g.stops {
		stop()
	}
	_ = os.RemoveAll(g.dir)
}

// call sends a request to the API as acme.
func (g *gitea) call(ctx context.Context, method, path string, body, into any) error {
	var data bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&data).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.host+"/api/v1/"+path, &data)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "token "+g.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}
