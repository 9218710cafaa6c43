package parts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// mirrored are the public registries whose images BuildKit takes from the registry on loopback, each below its own name.
var mirrored = []string{
	"docker.io", "ghcr.io", "gcr.io", "quay.io", "mcr.microsoft.com", "public.ecr.aws", "cgr.dev",
	"registry.gitlab.com", "registry.acme.example",
}

// Mirrored returns the registries that have a mirror, and where each of them is.
func (p *Parts) Mirrored() map[string]string {
	out := map[string]string{}
	for _, host := range mirrored {
		out[host] = p.Docker.Host + "/" + host
	}
	return out
}

// BuildKit is a buildkitd with the OCI worker (runc) and the native snapshotter. It must run as root.
type BuildKit struct {
	process

	Address string // for buildctl and buildx
	bin     string
	under   string // the folder [Options.Dir]
}

// startBuildKit starts a daemon. The first of the registries, which all speak HTTP, is its mirror of the public ones.
func startBuildKit(ctx context.Context, o Options, plain ...string) (*BuildKit, error) {
	settings := filepath.Join(o.Dir, "buildkitd.toml")
	if err := os.WriteFile(settings, []byte(buildkitConfig(plain)), 0o644); err != nil {
		return nil, err
	}
	socket := "unix://" + filepath.Join(o.Dir, "buildkitd.sock")
	b := &BuildKit{
		process: newProcess(o, "buildkitd", o.program("loop/buildkitd"), "--config", settings, "--root", buildkitRoot(o.Dir), "--addr", socket),
		Address: socket, bin: o.program("loop"), under: o.Dir,
	}
	return b, b.Start(ctx)
}

// buildkitConfig returns a configuration in which the registries on loopback speak HTTP.
func buildkitConfig(plain []string) string {
	var b strings.Builder
	b.WriteString("[worker.oci]\nenabled = true\nsnapshotter = \"native\"\ngc = false\n\n[worker.containerd]\nenabled = false\n")
	for _, host := range plain {
		fmt.Fprintf(&b, "\n[registry.%q]\nhttp = true\ninsecure = true\n", host)
	}
	for _, host := range mirrored {
		fmt.Fprintf(&b, "\n[registry.%q]\nmirrors = [%q]\n", host, plain[0]+"/"+host)
	}
	return b.String()
}

// Start starts the daemon, also after a [process.Kill], and returns when it responds.
func (b *BuildKit) Start(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	return b.wait(ctx, func(ctx context.Context) error {
		_, err := b.Ctl(ctx, nil, "debug", "workers")
		return err
	})
}

// Stop ends the daemon, and what it has left behind if it was killed.
func (b *BuildKit) Stop() error {
	b.process.Stop()
	return Release(b.under)
}

func buildkitRoot(dir string) string { return filepath.Join(dir, "buildkit") }

// Release deletes the containers and mounts that a BuildKit that was killed has left behind in a folder [Options.Dir].
func Release(dir string) error {
	root := buildkitRoot(dir)
	bundles, err := filepath.Glob(filepath.Join(root, "runc-native/executor/*/config.json"))
	errs := []error{err}
	for _, bundle := range bundles {
		out, err := exec.CommandContext(context.Background(), "runc", "delete", "--force", filepath.Base(filepath.Dir(bundle))).CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("deleting the container of %s: %w\n%s", bundle, err, out))
		}
	}
	return errors.Join(append(errs, unmountBelow(root))...)
}

// unmountBelow unmounts all file systems below a folder, those that were mounted last first.
func unmountBelow(folder string) error {
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	errs := []error{err}
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		fields := strings.Fields(line) // the fifth is the mount point
		if len(fields) < 5 || !strings.HasPrefix(fields[4], folder+"/") {
			continue
		}
		if err := syscall.Unmount(fields[4], syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", fields[4], err))
		}
	}
	return errors.Join(errs...)
}

// Program returns the path of a program that is built beside BuildKit, such as buildx.
func (b *BuildKit) Program(name string) string { return filepath.Join(b.bin, name) }

// Command returns buildctl with arguments, to be started.
func (b *BuildKit) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, b.Program("buildctl"), append([]string{"--addr", b.Address}, args...)...)
}

// Ctl runs buildctl, with variables added to the environment, and returns its output.
func (b *BuildKit) Ctl(ctx context.Context, env []string, args ...string) (string, error) {
	return b.run(ctx, "buildctl", env, append([]string{"--addr", b.Address}, args...))
}

// X runs buildx, the program behind `docker buildx`. It finds a builder named loop, which is this daemon.
func (b *BuildKit) X(ctx context.Context, env []string, args ...string) (string, error) {
	return b.run(ctx, "buildx", env, args)
}

func (b *BuildKit) run(ctx context.Context, program string, env, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, b.Program(program), args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}
