package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/audit"
	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/discover"
	"github.com/imagefactory/imagefactory/pkg/doctor"
	"github.com/imagefactory/imagefactory/pkg/draw"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/promote"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/triage"
)

// The kinds of output for programs. docs/json.md documents each; docs/schemas has their JSON schemas.
type (
	// StatusList is the output of status, and of promote --dry-run.
	StatusList struct {
		report.Meta
		Items []policy.Decision `json:"items"`
		Live  *cluster.Live     `json:"live,omitempty"` // with --live
	}
	// PromoteReport is the output of promote, one for each pass.
	PromoteReport struct {
		report.Meta
		*promote.Report
	}
	// AnalyzeReport is the output of analyze.
	AnalyzeReport struct {
		report.Meta
		*analyze.Report
	}
	// ScanReport is the output of scan.
	ScanReport struct {
		report.Meta
		*triage.Report
	}
	// AuditReport is the output of audit.
	AuditReport struct {
		report.Meta
		*audit.Report
	}
	// FindingList is the output of validate.
	FindingList struct {
		report.Meta
		Items []finding.Finding `json:"items"`
	}
	// CheckList is the output of doctor.
	CheckList struct {
		report.Meta
		Items []doctor.Check `json:"items"`
	}
	// Plan is the output of plan.
	Plan struct {
		report.Meta
		*plan.Plan
	}
	// PlanDiff is the output of plan --diff.
	PlanDiff struct {
		report.Meta
		*plan.Diff
	}
	// Graph is the output of graph.
	Graph struct {
		report.Meta
		draw.Model
	}
	// Lock is the output of pin.
	Lock struct {
		report.Meta
		*fleet.Lock
	}
	// Version is the output of version.
	Version struct {
		report.Meta
		build
	}
	// BaseList is the output of status --bases.
	BaseList struct {
		report.Meta
		Items []describe.BaseSummary `json:"items"`
	}
	// ImageDescription is the output of describe for an image.
	ImageDescription struct {
		report.Meta
		*describe.Image
	}
	// BaseDescription is the output of describe for a base image.
	BaseDescription struct {
		report.Meta
		*describe.Base
	}
	// StateChange is the output of release, hold, reset and prune.
	StateChange struct {
		report.Meta
		DryRun  bool     `json:"dryRun,omitempty"` // nothing was saved
		Changes []string `json:"changes"`          // one line each, for people
		Files   []string `json:"files"`            // state files, below the state folder
		Commit  string   `json:"commit,omitempty"` // the pushed commit
	}
	// FileList is the output of synth, enroll and init: the files that were written or removed, or would be.
	FileList struct {
		report.Meta
		DryRun bool       `json:"dryRun,omitempty"` // nothing was written
		Items  []FileItem `json:"items"`
	}
	// Discovery is the output of discover.
	Discovery struct {
		report.Meta
		*discover.Report
	}
	// FileItem is one file that a command writes.
	FileItem struct {
		Path   string `json:"path"`
		Action string `json:"action"` // written or removed
	}
)

// Names implements [report.Object].
func (l StatusList) Names() []string {
	return namesOf(l.Items, func(d *policy.Decision) string { return d.Image })
}

// Names implements [report.Object].
func (r PromoteReport) Names() []string {
	return namesOf(r.Started, func(s *promote.Started) string { return s.Image })
}

// Names implements [report.Object].
func (r AnalyzeReport) Names() []string {
	return namesOf(r.Images, func(i *analyze.ImageReport) string { return i.Image })
}

// Names implements [report.Object].
func (r ScanReport) Names() []string {
	names := namesOf(r.Results, func(s *triage.Result) string { return s.Image + s.Base })
	slices.Sort(names)
	return slices.Compact(names)
}

// Names implements [report.Object].
func (r AuditReport) Names() []string {
	names := namesOf(r.Rebuilds, func(b *audit.Rebuild) string { return b.Image })
	slices.Sort(names)
	return slices.Compact(names)
}

// Names implements [report.Object].
func (l FindingList) Names() []string {
	return namesOf(l.Items, func(f *finding.Finding) string { return f.Rule })
}

// Names implements [report.Object].
func (l CheckList) Names() []string {
	return namesOf(l.Items, func(f *doctor.Check) string { return f.Name })
}

// Names implements [report.Object].
func (p Plan) Names() []string {
	return namesOf(p.Items, func(e *plan.Entry) string { return e.Image })
}

// Names implements [report.Object].
func (d PlanDiff) Names() []string {
	return namesOf(d.Images, func(i *plan.ImageDiff) string { return i.Name })
}

// Names implements [report.Object].
func (g Graph) Names() []string { return namesOf(g.Nodes, func(n *draw.Node) string { return n.ID }) }

// Names implements [report.Object].
func (l Lock) Names() []string { return []string{l.Image} }

// Names implements [report.Object].
func (l BaseList) Names() []string {
	return namesOf(l.Items, func(b *describe.BaseSummary) string { return b.Name })
}

// Names implements [report.Object].
func (d ImageDescription) Names() []string { return []string{d.Name} }

// Names implements [report.Object].
func (d BaseDescription) Names() []string { return []string{d.Name} }

// Names implements [report.Object].
func (v Version) Names() []string { return []string{v.Version} }

// Names implements [report.Object].
func (c StateChange) Names() []string { return c.Files }

// Names implements [report.Object].
func (l FileList) Names() []string {
	return namesOf(l.Items, func(f *FileItem) string { return f.Path })
}

// Names implements [report.Object].
func (d Discovery) Names() []string {
	return namesOf(d.Items, func(p *discover.Proposal) string { return p.Name })
}

func namesOf[T any](items []T, name func(*T) string) []string {
	out := make([]string, len(items))
	for i := range items {
		out[i] = name(&items[i])
	}
	return out
}

// newFileList returns the list of files with one action.
func newFileList(paths []string, dryRun bool) FileList {
	l := FileList{Meta: report.NewMeta("FileList"), DryRun: dryRun, Items: []FileItem{}}
	for _, p := range paths {
		l.Items = append(l.Items, FileItem{Path: p, Action: "written"})
	}
	return l
}

// outputFlag is the flag --output. Its first format is the default.
type outputFlag struct {
	value string
	own   []string // formats of the command besides those of [report.Formats]
}

func (o *outputFlag) add(cmd *cobra.Command, own ...string) {
	o.own = own
	formats := o.formats()
	cmd.Flags().StringVarP(&o.value, "output", "o", formats[0], "`format`: "+strings.Join(formats[:len(formats)-1], ", ")+" or "+formats[len(formats)-1])
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

func (o *outputFlag) formats() []string {
	var out []string
	for _, f := range slices.Concat(o.own[:1], report.Formats(), o.own[1:]) {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

func (o *outputFlag) check() error { return checkOutput(o.value, o.formats()...) }

// forPrograms reports whether the output is an object for programs.
func (o *outputFlag) forPrograms() bool { return slices.Contains(report.Formats(), o.value) }

// wide reports whether tables show every cell in full.
func (o *outputFlag) wide() bool { return o.value == "wide" }
