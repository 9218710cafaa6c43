package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs as a program, and can be started again.
type process struct {
	name string
	path string // of the program
	args []string
	log  string              // file that it writes to
	dir  string              // in which it runs; empty for that of this process
	env  []string            // nil for the environment of this process
	user *syscall.Credential // nil for the user of this process

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // why it ended
}

func newProcess(o Options, name, path string, args ...string) process {
	return process{name: name, path: path, args: args, log: filepath.Join(o.Dir, name+".log")}
}

// command returns the program with other arguments, to be run as the server is.
func (p *process) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: p.user}
	return cmd
}

// start starts the program. It ends with this process, or with ctx.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.cmd = p.command(ctx, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return errors.Join(fmt.Errorf("starting %s: %w", p.name, err), log.Close())
	}
	done := make(chan struct{})
	p.done = done
	go func(cmd *exec.Cmd) {
		p.err = errors.Join(cmd.Wait(), log.Close())
		close(done)
	}(p.cmd)
	return nil
}

// Stop asks the server to end, and kills it after ten seconds.
func (p *process) Stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Kill ends the server at once, as a crash does.
func (p *process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Pause stops the server in whatever it does. It accepts connections, but does not respond.
func (p *process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets the server go on after a [process.Pause].
func (p *process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// wait calls ready until it returns nil, until the process ends, or for at most two minutes.
func (p *process) wait(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("starting %s: it ended: %w\n%s", p.name, errors.Join(p.err, err), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("starting %s: not ready: %w\n%s", p.name, err, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tail returns the end of the server's log.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// freeAddress returns an unused address on loopback.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
