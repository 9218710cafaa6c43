// Package scanner runs Trivy and Grype. Each run is a process of its own in an empty folder, bounded in time and output. It gets
// the credential of the registry that it asks, in a docker config.json of its own, and none of the other secrets of the
// environment.
package scanner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/scan"
)

// Options configure a [Scanner].
type Options struct {
	Name     string        // trivy or grype
	Program  string        // path; default: found by name
	Timeout  time.Duration // of the scan of one image
	Keychain authn.Keychain
	Environ  []string // NAME=VALUE
}

// Scanner runs a vulnerability scanner.
type Scanner struct {
	Options
	tool    tool
	program string
}

// tool is how a scanner is called.
type tool struct {
	update   []string                                   // downloads the database
	noUpdate []string                                   // variables with which a scan does not
	version  []string                                   // prints the versions of the program and the database
	unusable func(version []byte) (why string)          // why that database cannot be used; empty if it can
	folder   string                                     // variable that names the folder of the database
	scan     func(ref, platform string) (args []string) // prints a report
}

var tools = map[string]tool{
	"trivy": {
		update:   []string{"image", "--quiet", "--download-db-only"},
		noUpdate: []string{"TRIVY_SKIP_DB_UPDATE=true"},
		version:  []string{"version", "--format", "json"},
		unusable: trivyUnusable,
		folder:   "TRIVY_CACHE_DIR",
		scan: func(ref, platform string) []string { // several processes cannot share the cache of layers on disk
			args := []string{"image", "--quiet", "--format", "json", "--scanners", "vuln", "--image-src", "remote", "--cache-backend", "memory", "--exit-code", "0"}
			return append(platformed(args, platform), ref)
		},
	},
	"grype": {
		update:   []string{"db", "update"}, // --quiet would hide its errors
		noUpdate: []string{"GRYPE_DB_AUTO_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false"},
		version:  []string{"db", "status", "--output", "json"},
		unusable: grypeUnusable,
		folder:   "GRYPE_DB_CACHE_DIR",
		scan: func(ref, platform string) []string {
			return append(platformed([]string{"--output", "json"}, platform), "registry:"+ref)
		},
	},
}

// trivyUnusable reports that there is no database. Trivy lists one that it has.
func trivyUnusable(version []byte) string {
	var v struct {
		Version         string
		VulnerabilityDB json.RawMessage
	}
	if json.Unmarshal(version, &v) == nil && v.Version != "" && v.VulnerabilityDB == nil {
		return "there is none"
	}
	return ""
}

// grypeUnusable returns why Grype finds its database invalid: there is none, or it is too old.
func grypeUnusable(status []byte) string {
	var v struct {
		Valid *bool  `json:"valid"`
		Error string `json:"error"`
	}
	if json.Unmarshal(status, &v) == nil && v.Valid != nil && !*v.Valid {
		return sanitize.Cut(sanitize.Foreign(cmp.Or(v.Error, "it is invalid")), maxMessage)
	}
	return ""
}

func platformed(args []string, platform string) []string {
	if platform != "" {
		args = append(args, "--platform", platform)
	}
	return args
}

// Names lists the scanners.
func Names() []string { return []string{"trivy", "grype"} }

// New returns the scanner with a name, which must be installed.
func New(o Options) (*Scanner, error) {
	t, known := tools[o.Name]
	if !known {
		return nil, fmt.Errorf("unknown scanner %q (want %s)", o.Name, strings.Join(Names(), " or "))
	}
	program, err := exec.LookPath(cmp.Or(o.Program, o.Name))
	if err != nil {
		return nil, fmt.Errorf("no program %q (install it, or pass its report with --report)", cmp.Or(o.Program, o.Name))
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, fmt.Errorf("finding %s: %w", o.Name, err)
	}
	return &Scanner{o, t, program}, nil
}

// Update downloads the database of vulnerabilities, unless the environment says that the scanner must not, and returns its
// version with that of the program.
func (s *Scanner) Update(ctx context.Context) (version string, err error) {
	if !s.offline() {
		if _, err := s.output(ctx, s.tool.update...); err != nil {
			return "", fmt.Errorf("updating the database of %s: %w (to scan with the one that is there, set %s)", s.Name, err, s.tool.noUpdate[0])
		}
	}
	out, err := s.output(ctx, s.tool.version...)
	if why := s.tool.unusable(out); why != "" && s.offline() {
		variable, _, _ := strings.Cut(s.tool.noUpdate[0], "=")
		return "", fmt.Errorf("the database of %s cannot be used: %s (unset %s so that it is downloaded, or set %s to the folder that has one)", s.Name, why, variable, s.tool.folder)
	}
	if err != nil { // an older program: every digest is scanned again
		return "", nil //nolint:nilerr // the version only saves work
	}
	return string(out), nil
}

// offline reports whether the environment turns updates of the database off.
func (s *Scanner) offline() bool { return slices.Contains(s.Environ, s.tool.noUpdate[0]) }

// maxText is the size of a scanner's texts that are kept.
const maxText = 64 << 10

// output runs a short command and returns what it prints.
func (s *Scanner) output(ctx context.Context, args ...string) ([]byte, error) {
	var out tail
	err := s.run(ctx, "", args, &out)
	return out.Bytes(), err
}

// Scan scans an image by its digest, on a platform if the digest is that of an index.
func (s *Scanner) Scan(ctx context.Context, ref, platform string) (*scan.Report, error) {
	return s.Report(ctx, ref, platform, io.Discard)
}

// Report scans an image as [Scanner.Scan] does, and copies the report to w. What w holds is complete only if the scan succeeds.
func (s *Scanner) Report(ctx context.Context, ref, platform string, w io.Writer) (*scan.Report, error) {
	within, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	read, write := io.Pipe()
	var report *scan.Report
	var unreadable error
	done := make(chan struct{})
	go func() {
		defer close(done)
		report, unreadable = scan.Read(io.TeeReader(read, w), scan.MaxBytes)
		if unreadable != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(read, maxText)) // so that the scanner can say why
		}
		_ = read.Close() // ends a scanner that goes on writing
	}()
	err := s.run(within, ref, s.tool.scan(ref, platform), write)
	_ = write.Close() // never fails
	<-done
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case within.Err() != nil:
		return nil, fmt.Errorf("scanning %s: no result within %s (set --timeout)", ref, s.Timeout)
	case err != nil:
		return nil, fmt.Errorf("scanning %s: %w", ref, err)
	case unreadable != nil:
		return nil, fmt.Errorf("reading the report of %s about %s: %w", s.Name, ref, unreadable)
	}
	return report, nil
}

// run runs the program in an empty folder and writes its output to out. ref names the image whose registry it may log in to.
func (s *Scanner) run(ctx context.Context, ref string, args []string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "imagefactory-scan-")
	if err != nil {
		return fmt.Errorf("creating a folder for the scanner: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	secrets, err := s.login(ctx, dir, ref)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.program, args...) //nolint:gosec // the scanner that the user chose; args hold no secret
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = append(environment(s.Environ), s.tool.noUpdateUnless(args)...)
	cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+dir)
	var messages tail
	cmd.Stdout, cmd.Stderr = out, &messages
	if err := cmd.Run(); err != nil {
		text := sanitize.Cut(sanitize.Foreign(lastLine(messages.String()), secrets...), maxMessage)
		switch {
		case ctx.Err() == nil && strings.Contains(err.Error(), "signal: killed"):
			return fmt.Errorf("%s was killed (if memory is short, lower --parallel)", s.Name)
		case ctx.Err() != nil || text == "":
			return err
		}
		return errors.New(text)
	}
	return nil
}

const maxMessage = 300

// noUpdateUnless returns the variables that keep a command from updating the database, unless it is the update.
func (t *tool) noUpdateUnless(args []string) []string {
	if slices.Equal(args, t.update) {
		return nil
	}
	return t.noUpdate
}

// lastLine returns the last line that is not empty, without time and level: scanners end with the error.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return logPrefix().ReplaceAllString(lines[len(lines)-1], "")
}

var logPrefix = lazy.Regexp(`^(\S+\s+FATAL\s+Fatal error\s+(run error: )?|\[\d+\]\s+ERROR\s+)`)

// tail is a buffer for the last bytes of a text.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxText {
		p = p[len(p)-maxText:]
	}
	if t.Len()+len(p) > maxText {
		kept := slices.Clone(t.Bytes()[t.Len()+len(p)-maxText:])
		t.Reset()
		t.Buffer.Write(kept)
	}
	t.Buffer.Write(p)
	return n, nil
}

// login writes a config.json with the credential of the registry of an image, and returns its secrets.
func (s *Scanner) login(ctx context.Context, dir, ref string) (secrets []string, err error) {
	auths := map[string]any{}
	if ref != "" && s.Keychain != nil {
		parsed, err := name.ParseReference(ref)
		if err != nil {
			return nil, fmt.Errorf("invalid reference %q: %w", ref, err)
		}
		found, err := authn.Resolve(ctx, s.Keychain, parsed.Context())
		if err != nil {
			return nil, err
		}
		auth, err := authn.Authorization(ctx, found)
		if err != nil {
			return nil, fmt.Errorf("reading the credential of %s: %w", parsed.Context().RegistryStr(), err)
		}
		if *auth != (authn.AuthConfig{}) {
			secrets = []string{auth.Password, auth.IdentityToken, auth.RegistryToken, auth.Auth}
			auths[serverOf(parsed.Context().RegistryStr())] = entry(auth)
		}
	}
	data, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return nil, fmt.Errorf("encoding config.json: %w", err)
	}
	const onlyOwner = 0o600
	return secrets, os.WriteFile(filepath.Join(dir, "config.json"), data, onlyOwner)
}

// serverOf returns the key of a registry in a config.json.
func serverOf(registry string) string {
	if registry == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return registry
}

// entry returns the entry of a config.json.
func entry(a *authn.AuthConfig) map[string]string {
	out := map[string]string{}
	if a.Username != "" || a.Password != "" {
		out["auth"] = base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
	}
	for key, value := range map[string]string{"identitytoken": a.IdentityToken, "registrytoken": a.RegistryToken} {
		if value != "" {
			out[key] = value
		}
	}
	return out
}

// allowed are the variables that a scanner gets, and prefixed those by prefix: where it keeps its database, how it reaches the
// network, and its own settings.
var (
	allowed  = []string{"PATH", "HOME", "USER", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
	prefixed = []string{"TRIVY_", "GRYPE_", "SYFT_", "XDG_", "LC_"}
)

// environment returns the variables that a scanner gets.
func environment(all []string) []string {
	var out []string
	for _, v := range all {
		key, _, _ := strings.Cut(v, "=")
		if slices.Contains(allowed, key) || slices.ContainsFunc(prefixed, func(p string) bool { return strings.HasPrefix(key, p) }) {
			out = append(out, v)
		}
	}
	return out
}
