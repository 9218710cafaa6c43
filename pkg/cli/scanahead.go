package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/store"
	"github.com/imagefactory/imagefactory/pkg/triage"
)

// scanAheadTimeout bounds everything that the init container of an analysis does.
const scanAheadTimeout = 10 * time.Minute

// scanAhead scans the digest of a Job before it is recorded, and writes the reports for `analyze --report`. It is an init
// container: if it failed, the digest would not be recorded. So whatever goes wrong is printed only, and left to the next scan.
func (o *scanOptions) scanAhead(ctx context.Context, env *Env, paths *pathFlags) error {
	within, cancel := context.WithTimeout(ctx, scanAheadTimeout)
	defer cancel()
	reports, errs := o.writeReports(within, env, paths)
	for _, err := range errs {
		if err := env.errorf("warning: %s", err); err != nil {
			return err
		}
	}
	if len(errs) > 0 {
		return env.infof("%s written; the rest is left to the next scan", plural.Count(reports, "report"))
	}
	return env.infof("%s written", plural.Count(reports, "report"))
}

var errKilled = errors.New("an earlier attempt was killed, so nothing is scanned (if memory is short, raise factory.scan.resources)")

func (o *scanOptions) writeReports(ctx context.Context, env *Env, paths *pathFlags) (reports int, errs []error) {
	// Kubernetes restarts a container that was killed for its memory, and would kill it again.
	const onlyOwner = 0o600
	mark, err := os.OpenFile(filepath.Join(o.write, "started"), os.O_CREATE|os.O_EXCL, onlyOwner)
	switch {
	case errors.Is(err, os.ErrExist):
		return 0, []error{errKilled}
	case err != nil:
		return 0, []error{fmt.Errorf("writing to the folder of the reports: %w", err)}
	}
	_ = mark.Close() // nothing was written
	c := o.clients(env)
	o.tolerant = true
	st, closeStore, err := o.open(ctx, c, paths)
	if err != nil {
		return 0, []error{err}
	}
	defer closeStore()
	f, err := store.View(ctx, st)
	if err != nil {
		return 0, []error{err}
	}
	s, _, err := o.scanner(ctx, c)
	if err != nil {
		return 0, []error{err}
	}
	return triage.Ahead(ctx, f, o.event, triage.AheadOptions{Scanner: s, Dir: o.write, Parallel: o.parallel, Now: env.Now()})
}
