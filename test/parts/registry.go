package parts

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// Registry is Debian's docker-registry (CNCF Distribution) on a loopback port that it keeps when it is started again.
type Registry struct {
	process

	Host string
	Data string // folder of its blobs
}

// StartRegistry starts another registry, with a name of its own. It keeps its blobs in the folder NAME of Options.Dir, which may
// exist already. If htpasswd is not empty, it is the file of the users who may pull and push.
func StartRegistry(ctx context.Context, o Options, name, htpasswd string) (*Registry, error) {
	host, err := freeAddress(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	settings := filepath.Join(o.Dir, name+".yml")
	r := &Registry{process: newProcess(o, name, o.Registry, "serve", settings), Host: host, Data: filepath.Join(o.Dir, name)}
	text := fmt.Sprintf("version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n", r.Data, host)
	if htpasswd != "" {
		text += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", htpasswd)
	}
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return r, r.Start(ctx)
}

// Start starts the registry, also after a [process.Kill], and returns when it responds.
func (r *Registry) Start(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	return r.wait(ctx, func(ctx context.Context) error { return answers(ctx, http.DefaultClient, "http://"+r.Host+"/", "") })
}
