package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/triage"
)

func addReports(cmd *cobra.Command, reports *[]string) {
	cmd.Flags().StringArrayVar(reports, "report", nil, "read a report or VEX document: `FILE`, NAME=FILE, a folder of *.json files, or - (may be repeated)")
}

// readReports reads the reports that --report names. One that cannot be read does not stop the others.
func readReports(in io.Reader, reports []string) (files []triage.File, errs []error) {
	for _, arg := range reports {
		name, path, ok := strings.Cut(arg, "=")
		if !ok || strings.ContainsAny(name, `/\.`) {
			name, path = "", arg
		}
		paths, err := reportsIn(path)
		if err != nil {
			errs = append(errs, err)
		}
		for _, path := range paths {
			r, err := readReport(in, path)
			if err != nil {
				errs = append(errs, fmt.Errorf("reading report %q: %w", path, err))
				continue
			}
			files = append(files, triage.File{Path: path, Name: name, Report: r})
		}
	}
	return files, errs
}

// reportsIn returns the reports in a folder, or path itself if it is none.
func reportsIn(path string) ([]string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return []string{path}, nil //nolint:nilerr // reading it says why
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, fmt.Errorf("reading the reports: %w", err)
	}
	var out []string
	for _, e := range entries {
		file := filepath.Join(path, e.Name())
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && strings.HasSuffix(file, ".json") { // reading a pipe may never end
			out = append(out, file)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading the reports: %q has no *.json file (did the scanner fail?)", path)
	}
	return out, nil
}

func readReport(in io.Reader, path string) (*scan.Report, error) {
	if path == "-" {
		return scan.Read(in, scan.MaxBytes)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return scan.Read(f, scan.MaxBytes)
}

// findings are the reports that an analysis records together with the digests that they are about.
type findings struct {
	files    []triage.File
	problems []error // of reports that cannot be used
	digest   string  // that has a report; empty if none is expected
	now      func() time.Time
	report   *triage.Report // nil until they are recorded
}

// findings reads the reports of an analysis.
func (o *analyzeOptions) findings(env *Env) *findings {
	f := &findings{digest: o.event.Digest, now: env.Now}
	f.files, f.problems = readReports(env.In, o.reports)
	return f
}

// record returns a function that records the findings in memory, or nil if there are none.
func (f *findings) record() func(*fleet.Fleet) {
	if len(f.files) == 0 {
		return nil
	}
	return func(fl *fleet.Fleet) {
		r, err := triage.Record(fl, f.files, f.now)
		if err != nil {
			f.problems = append(f.problems, err)
			return
		}
		f.report = r
	}
}

// print prints what was found, and the reports that could not be used.
func (f *findings) print(env *Env) error {
	var b strings.Builder
	for _, err := range f.problems {
		fmt.Fprintf(&b, "warning: %s\n", err)
	}
	if r := f.report; r != nil {
		for _, problem := range r.Problems {
			fmt.Fprintf(&b, "warning: %s\n", problem)
		}
		if f.digest != "" && !r.About(f.digest) {
			fmt.Fprintf(&b, "warning: no report is about %s, so its vulnerabilities are left to the next scan\n", f.digest)
		}
		b.WriteString(foundLines(r))
	}
	return infoLines(env, b.String())
}

// outcome returns an error if a report could not be used.
func (f *findings) outcome() error {
	if len(f.problems) > 0 || f.report != nil && f.report.Failed > 0 {
		return errReported
	}
	return nil
}
