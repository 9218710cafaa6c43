package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// Gitea is a Gitea server on loopback, with the administrator acme. It runs as nobody if this process runs as root, which Gitea
// refuses.
type Gitea struct {
	process

	Host  string
	Token string // of acme, with all scopes
}

const giteaSettings = `APP_NAME = test
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

// StartGitea starts a Gitea, and returns when it responds.
func StartGitea(ctx context.Context, o Options) (_ *Gitea, err error) {
	g := &Gitea{}
	dir, err := os.MkdirTemp("", "imagefactory-gitea-") // nobody can enter it, unlike Options.Dir perhaps
	if err != nil {
		return nil, err
	}
	g.process = newProcess(o, "gitea", filepath.Join(dir, "gitea"), "--config", filepath.Join(dir, "app.ini"), "web")
	g.dir = dir
	defer func() {
		if err != nil {
			g.Stop()
		}
	}()
	if err := g.install(ctx, o); err != nil {
		return nil, err
	}
	if _, err := g.Run(ctx, "migrate"); err != nil {
		return nil, err
	}
	out, err := g.Run(ctx, "admin", "user", "create", "--admin", "--username", "acme", "--random-password", "--email", "acme@acme.example",
		"--must-change-password=false", "--access-token", "--access-token-scopes", "all")
	if err != nil {
		return nil, err
	}
	if g.Token = regexp.MustCompile(`\b[0-9a-f]{40}\b`).FindString(out); g.Token == "" {
		return nil, errors.New("gitea printed no token")
	}
	return g, g.Start(ctx)
}

// install copies the program and the files that its module keeps beside it, where the user that runs it can read them.
func (g *Gitea) install(ctx context.Context, o Options) error {
	who, err := runner()
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(g.dir, "static"), os.DirFS(o.program("gitea/static"))); err != nil {
		return err
	}
	program, err := os.ReadFile(o.program("gitea/gitea"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(g.path, program, 0o755); err != nil {
		return err
	}
	if g.Host, err = freeAddress(ctx); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(g.Host)
	if err != nil {
		return err
	}
	settings := filepath.Join(g.dir, "app.ini")
	if err := os.WriteFile(settings, fmt.Appendf(nil, giteaSettings, who.Username, g.dir, port), 0o600); err != nil {
		return err
	}
	g.env = []string{"HOME=" + g.dir, "USER=" + who.Username, "PATH=" + os.Getenv("PATH")}
	if os.Getuid() != 0 {
		return nil
	}
	uid, errUID := strconv.ParseUint(who.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(who.Gid, 10, 32)
	g.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(errUID, errGID, os.Chown(g.dir, int(uid), int(gid)), os.Chown(settings, int(uid), int(gid)))
}

// runner returns the user that runs Gitea.
func runner() (*user.User, error) {
	if os.Getuid() == 0 {
		return user.Lookup("nobody")
	}
	return user.Current()
}

// Start starts the server, also after a [process.Kill], and returns when it responds.
func (g *Gitea) Start(ctx context.Context) error {
	if err := g.start(ctx); err != nil {
		return err
	}
	return g.wait(ctx, func(ctx context.Context) error { return g.Call(ctx, http.MethodGet, "version", nil, nil) })
}

// Restart stops the server and starts it again.
func (g *Gitea) Restart(ctx context.Context) error {
	g.process.Stop()
	return g.Start(ctx)
}

// Stop ends the server and removes what it has written.
func (g *Gitea) Stop() {
	g.process.Stop()
	_ = os.RemoveAll(g.dir)
}

// Run runs a command of gitea and returns what it prints.
func (g *Gitea) Run(ctx context.Context, args ...string) (string, error) {
	out, err := g.command(ctx, append([]string{"--config", filepath.Join(g.dir, "app.ini")}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gitea %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Call sends a request to the API as acme, and decodes the response unless into is nil.
func (g *Gitea) Call(ctx context.Context, method, path string, body, into any) error {
	return callJSON(ctx, method, "http://"+g.Host+"/api/v1/"+path, http.Header{"Authorization": {"token " + g.Token}}, body, into)
}

// callJSON sends a request with a body, and decodes the response; either may be nil.
func callJSON(ctx context.Context, method, url string, header http.Header, body, into any) error {
	var data bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&data).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, &data)
	if err != nil {
		return err
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/json")
	return exchange(http.DefaultClient, req, into)
}
