package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/scanner"
	"github.com/imagefactory/imagefactory/pkg/store"
	"github.com/imagefactory/imagefactory/pkg/triage"
)

type scanOptions struct {
	repoFlags
	metrics  metricsFlags
	selected selectFlags
	reports  []string
	with     string
	program  string
	parallel int
	timeout  time.Duration
	isNew    bool
	all      bool
	dryRun   bool
	output   outputFlag

	event triage.Event // of the Job whose digest is scanned before it is recorded
	write string       // folder of the reports
}

// Defaults of scan.
const (
	scanParallel = 2 // a scan takes a gigabyte of memory
	scanTimeout  = 10 * time.Minute
)

func newScan(env *Env, paths *pathFlags) *cobra.Command {
	o := &scanOptions{}
	cmd := &cobra.Command{
		Use:   "scan [NAME...]",
		Short: "Record the vulnerabilities that a scanner finds, and release the digests that fix them",
		Long: `Scan records the vulnerabilities of the enrolled images, or the named ones: of what they published, of the base digests
that they are built on, and of the candidates that wait. --report reads reports of Trivy (JSON), Grype (JSON), SARIF, CycloneDX
and SPDX, and VEX statements of OpenVEX and CycloneDX; the report says which digest it is about, or NAME=FILE does. --with runs
a scanner that is installed, and scans each digest again when its database is newer.

Where images.yaml sets urgent, scan releases a candidate that no longer has a vulnerability that an image inherits from its base
image, and flags or holds one that adds such a vulnerability. Without --push, state is the folder beside images.yaml. A scan
that learns nothing changes no file. If the scan of an image fails, its findings stay, the others are recorded, and the exit
code is 1.`,
		Example: `  imagefactory scan --with trivy --push                      # daily
  imagefactory scan --report trivy.json --report web=grype.json
  imagefactory scan web --report web.openvex.json            # a VEX statement takes a finding away
  imagefactory scan --with grype --new                       # only where a digest was never scanned`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: imageNames(paths),
		RunE: func(cmd *cobra.Command, names []string) error {
			return runScan(cmd.Context(), env, paths, o, names)
		},
	}
	f := cmd.Flags()
	addReports(cmd, &o.reports)
	f.StringVar(&o.with, "with", "", "run this `scanner`: trivy or grype")
	f.StringVar(&o.program, "program", "", "`path` of the scanner's program (default: found in PATH)")
	f.IntVar(&o.parallel, "parallel", scanParallel, "number of images that are scanned at once")
	f.DurationVar(&o.timeout, "timeout", scanTimeout, "longest time for the scan of one image")
	f.BoolVar(&o.isNew, "new", false, "scan only where a digest was never scanned")
	f.BoolVar(&o.all, "all", false, "scan every digest, also if neither it nor the scanner's database is new")
	f.BoolVar(&o.dryRun, "dry-run", false, "print a diff of the state and keep nothing")
	f.StringVar(&o.write, "write", "", "(Jobs only) write the reports about --digest into this `folder`, and record nothing")
	f.StringVar(&o.event.Image, "image", "", "(Jobs only) `name` of the enrolled image that changed")
	f.StringVar(&o.event.Base, "base-image", "", "(Jobs only) `name` of the base image that changed")
	f.StringVar(&o.event.Tag, "tag", "", "(Jobs only) `tag` that changed")
	f.StringVar(&o.event.Digest, "digest", "", "(Jobs only) new `digest` of the tag")
	_ = cmd.RegisterFlagCompletionFunc("with", cobra.FixedCompletions(scanner.Names(), cobra.ShellCompDirectiveNoFileComp))
	o.output.add(cmd, "text")
	o.add(env, cmd)
	o.metrics.add(env, cmd)
	o.selected.add(cmd, paths)
	return cmd
}

func (o *scanOptions) check() error {
	switch {
	case o.with == "" && len(o.reports) == 0:
		return fleet.Usagef("scan needs --report FILE, or --with %s", strings.Join(scanner.Names(), "|"))
	case o.with != "" && !slices.Contains(scanner.Names(), o.with):
		return fleet.Usagef("--with is %s", strings.Join(scanner.Names(), " or "))
	case o.with == "" && (o.isNew || o.all || o.program != ""):
		return fleet.Usagef("--new, --all and --program need --with")
	case o.isNew && o.all:
		return fleet.Usagef("--new and --all exclude each other")
	case o.write != "" && (o.with == "" || o.event.Digest == "" || (o.event.Image == "") == (o.event.Base == "")):
		return fleet.Usagef("--write needs --with, --digest, and --image or --base-image")
	case o.write == "" && o.event != triage.Event{}:
		return fleet.Usagef("--image, --base-image, --tag and --digest need --write")
	case o.parallel < 1 || o.timeout <= 0:
		return fleet.Usagef("--parallel and --timeout must be greater than 0")
	}
	return o.output.check()
}

func runScan(ctx context.Context, env *Env, paths *pathFlags, o *scanOptions, names []string) error {
	selection, err := o.selected.selection(names)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if o.write != "" {
		return o.scanAhead(ctx, env, paths)
	}
	files, unreadable := readReports(env.In, o.reports)
	if len(files) == 0 && o.with == "" {
		return unreadable[0]
	}
	c := o.clients(env)
	st, closeStore, err := o.open(ctx, c, paths)
	if err != nil {
		return err
	}
	defer closeStore()
	if o.url != "" && !o.push {
		o.dryRun = true
	}
	if o.dryRun {
		dry := &dryRun{Store: st}
		return dry.end(env, o.scan(ctx, c, paths, selection, dry, files, unreadable))
	}
	measured, st := o.metrics.begin(c, "scan", st)
	return measured.end(ctx, o.scan(ctx, c, paths, selection, st, files, unreadable))
}

func (o *scanOptions) scan(ctx context.Context, c *clients, paths *pathFlags, selection fleet.Selection, st store.Store, files []triage.File, unreadable []error) error {
	env := c.env
	opts := triage.Options{Files: files, Select: selection, New: o.isNew, Parallel: o.parallel, Now: env.Now, Progress: c.progress("digest")}
	var scanned *scanned
	if o.with != "" {
		s, version, err := o.scanner(ctx, c)
		if err != nil {
			return err
		}
		scanned = openScanned(cacheDir(env), o.with, version)
		opts.Scanner = s
		if !o.all && !o.isNew && version != "" {
			opts.Known = scanned.known
		}
	}
	r, saved, err := triage.Run(ctx, st, opts)
	if err != nil {
		return err
	}
	for _, err := range unreadable {
		r.Problems = append(r.Problems, err.Error())
		r.Failed++
	}
	if scanned != nil && !o.dryRun {
		scanned.save(r)
	}
	if err := o.print(env, paths, r, saved); err != nil {
		return err
	}
	if r.Failed > 0 || r.Interrupted {
		return errReported
	}
	return nil
}

// scanner returns the scanner, with its database brought up to date, and the version of both.
func (o *scanOptions) scanner(ctx context.Context, c *clients) (*scanner.Scanner, string, error) {
	s, err := scanner.New(scanner.Options{Name: o.with, Program: o.program, Timeout: o.timeout, Keychain: c.credentials.Keychain(), Environ: os.Environ()})
	if err != nil {
		return nil, "", err
	}
	version, err := s.Update(ctx)
	return s, version, err
}

func (o *scanOptions) print(env *Env, paths *pathFlags, r *triage.Report, saved store.Saved) error {
	switch {
	case o.output.forPrograms():
		if err := report.Print(env.Out, o.output.value, ScanReport{report.NewMeta("ScanReport"), r}); err != nil {
			return err
		}
	case o.dryRun:
		if err := report.Diff(env.Out, r.Diff(o.shown(paths))); err != nil {
			return err
		}
	}
	var b strings.Builder
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "error: %s\n", problem)
	}
	b.WriteString(foundLines(r))
	b.WriteString(scanLine(r, saved, o.dryRun))
	return infoLines(env, b.String())
}

// foundLines returns the lines about scans that failed and about what was recorded.
func foundLines(r *triage.Report) string {
	var b strings.Builder
	for i := range r.Results {
		if res := &r.Results[i]; res.Error != "" {
			fmt.Fprintf(&b, "error: %s: %s\n", res.Image+res.Base, res.Error)
		}
	}
	lines := r.Summary()
	for _, line := range lines[:min(len(lines), maxScanLines)] {
		b.WriteString(line + "\n")
	}
	if more := len(lines) - maxScanLines; more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return b.String()
}

// maxScanLines is the number of findings and decisions that are printed; -o json has all.
const maxScanLines = 30

func scanLine(r *triage.Report, saved store.Saved, dryRun bool) string {
	unchanged, failed := 0, 0
	for i := range r.Results {
		if r.Results[i].Unchanged {
			unchanged++
		}
		if r.Results[i].Error != "" {
			failed++
		}
	}
	text := "scanned " + plural.Count(len(r.Results)-unchanged-failed, "digest")
	if unchanged > 0 {
		text += fmt.Sprintf(", %d unchanged since the last scan", unchanged)
	}
	if failed > 0 {
		text += fmt.Sprintf(", %d failed (their earlier findings are kept)", failed)
	}
	if r.Interrupted {
		text = "interrupted: " + text
	}
	switch {
	case len(r.Changed) == 0:
		return text + "; nothing new"
	case dryRun:
		return text + "; " + plural.Count(len(r.Changed), "file") + " would change"
	case saved.Commit != "":
		return text + "; " + plural.Count(len(r.Changed), "file") + " pushed to " + saved.Where + " as " + saved.Commit
	}
	return text + "; " + plural.Count(len(r.Changed), "file") + " written"
}

// scanned remembers with which version of a scanner's database each digest was scanned, in the cache folder: state has no dates.
type scanned struct {
	path, version string
	seen          map[string]string // versions, by key
}

// openScanned reads the file of a scanner. One that cannot be read is an empty one: digests are scanned again.
func openScanned(dir, with, version string) *scanned {
	s := &scanned{version: version, seen: map[string]string{}}
	if dir == "" {
		return s
	}
	s.path = filepath.Join(dir, "scanned-"+with+".json")
	if data, err := os.ReadFile(s.path); err == nil {
		_ = json.Unmarshal(data, &s.seen)
	}
	return s
}

func (s *scanned) known(key string) bool { return s.seen[key] == s.version }

// save remembers the digests that were scanned, and forgets those that are no longer in use.
func (s *scanned) save(r *triage.Report) {
	if s.path == "" || s.version == "" {
		return
	}
	now := map[string]string{}
	for i := range r.Results {
		if res := &r.Results[i]; res.Error == "" {
			now[res.Key()] = s.version
		}
	}
	data, err := json.Marshal(now)
	if err != nil {
		return
	}
	const onlyOwner = 0o700
	if err := os.MkdirAll(filepath.Dir(s.path), onlyOwner); err == nil {
		_ = renameio.WriteFile(s.path, data, onlyOwner&0o600) // without it, digests are scanned again
	}
}
