package parts

import (
	"context"
	"errors"
	"fmt"
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
	log  string // file that it writes to

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // why it ended
}

// start starts the program. It ends with this process, or with ctx.
func (p *process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.cmd = exec.CommandContext(ctx, p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.done = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", p.name, err), log.Close())
	}
	go func() {
		p.err = errors.Join(p.cmd.Wait(), log.Close())
		close(p.done)
	}()
	return nil
}

// Stop asks the server to end, and kills it after ten seconds.
func (p *process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Kill ends the server at once, as a crash does.
func (p *process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
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

func newProcess(o Options, name, path string, args ...string) process {
	return process{name: name, path: path, args: args, log: filepath.Join(o.Dir, name+".log")}
}
