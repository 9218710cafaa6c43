package metrics

import (
	"maps"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/stats"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Facts are what the metrics of a fleet are computed from.
type Facts struct {
	Config    *config.Config
	State     *state.State
	Graph     *graph.Graph
	Now       time.Time
	Decisions []policy.Decision // about the images to describe
	Version   string            // of imagefactory
}

// Fleet returns the metrics of some images, and of the base images that they use, from state alone.
func Fleet(f *Facts) *Set {
	s := &Set{}
	s.gauge("build_info", "Version of imagefactory that wrote these metrics; always 1.").add(1, "version", f.Version)
	s.totals(f)
	s.images(f)
	s.vulnerabilities(f)
	s.rebuilds(f)
	s.bases(f)
	s.gauge("state_changed_timestamp_seconds", "Time of the newest fact in state.").at(newestFact(f.State))
	return s
}

// totals counts images by status. Every status has a sample, so that a rule on one of them always has data.
func (s *Set) totals(f *Facts) {
	count := map[policy.Status]int{}
	for i := range f.Decisions {
		count[f.Decisions[i].Status]++
	}
	images := s.gauge("images", "Number of enrolled images by status.")
	for _, status := range policy.Statuses() {
		images.add(float64(count[status]), "status", string(status))
	}
}

func (s *Set) images(f *Facts) {
	info := s.gauge("image_info", "An enrolled image: its repository, its owner, and whether it is managed or external; always 1.")
	status := s.gauge("image_status", "Status of an image: 1 for the status that it has.")
	built := s.gauge("image_built_timestamp_seconds", "Time when the published image was built.")
	outdated := s.gauge("image_outdated_timestamp_seconds", "Time since when a base of the image has held a newer digest; absent while there is none.")
	due := s.gauge("image_due_timestamp_seconds", "Time since when a rebuild of the image has been due; absent while none is, or while it is stopped.")
	stopped := s.gauge("image_stopped", "A rebuild of the image is due, and a pause, its windows or rebuildInterval keep it from being started; always 1.")
	until := s.gauge("image_wait_end_timestamp_seconds", "Time when the wait of the image ends at the latest; absent while it does not wait.")
	failures := s.gauge("image_rebuild_failures", "Failed rebuilds of a managed image in a row.")
	for i := range f.Decisions {
		d := &f.Decisions[i]
		img, facts := f.Config.Find(d.Image), f.State.Images[d.Image]
		labels := labelsOf(img)
		info.add(1, append(labels, "repository", img.Ref(), "kind", kindOf(img))...)
		status.add(1, append(labels, "status", string(d.Status))...)
		outdated.at(d.Outdated(), labels...)
		if d.Stop != "" {
			stopped.add(1, append(labels, "stop", string(d.Stop))...)
		} else if d.Status != policy.Starting && d.Status != policy.Running {
			due.at(d.Since, labels...)
		}
		until.at(d.Until, labels...)
		if facts == nil {
			continue
		}
		built.at(facts.LastBuilt.Time, labels...)
		if img.Managed() {
			failed := 0
			if facts.Rebuild != nil {
				failed = facts.Rebuild.Failures
			}
			failures.add(float64(failed), labels...)
		}
	}
}

// Places of vulnerabilities.
const (
	inherited    = "inherited"
	own          = "own"
	unknownPlace = "unknown"
)

// vulnerabilities counts the open findings of the published images that were scanned. The severities that state lists have a sample
// for both places, so that a rule on them always has data.
func (s *Set) vulnerabilities(f *Facts) {
	open := s.gauge("image_vulnerabilities", "Open vulnerabilities of the published image by severity and place: inherited from a base, or the image's own.")
	fixable := s.gauge("image_vulnerabilities_fixable", "Open vulnerabilities of the published image that a newer digest of a base fixes, by severity.")
	fleet := &exposure.Fleet{Config: f.Config, State: f.State, Graph: f.Graph, Now: f.Now}
	for i := range f.Decisions {
		img := f.Config.Find(f.Decisions[i].Image)
		if f.State.ImageScans[img.Name] == nil {
			continue
		}
		found := fleet.Of(img)
		if !found.Scanned {
			continue
		}
		counts, fixed := countBySeverity(&found), countFixable(&found)
		for _, severity := range scan.Severities() {
			if severity.AtLeast(img.ScanSeverity()) {
				fixable.add(float64(fixed[severity]), append(labelsOf(img), "severity", string(severity))...)
			}
			for _, place := range []string{inherited, own, unknownPlace} {
				n := counts[severity][place]
				if listed := place != unknownPlace && severity.AtLeast(img.ScanSeverity()); n > 0 || listed {
					open.add(float64(n), append(labelsOf(img), "severity", string(severity), "place", place)...)
				}
			}
		}
	}
}

// countBySeverity counts findings by severity and place.
func countBySeverity(found *exposure.Exposure) map[scan.Severity]map[string]int {
	counts := map[scan.Severity]map[string]int{}
	for _, severity := range scan.Severities() {
		counts[severity] = map[string]int{unknownPlace: found.Others[severity]}
	}
	for i := range found.Findings {
		switch v := &found.Findings[i]; v.Where {
		case state.InBase:
			counts[v.Severity][inherited]++
		case state.InOwn:
			counts[v.Severity][own]++
		default:
			counts[v.Severity][unknownPlace]++
		}
	}
	return counts
}

// countFixable counts by severity the findings that a candidate fixes.
func countFixable(found *exposure.Exposure) map[scan.Severity]int {
	counts := map[scan.Severity]int{}
	for i := range found.Findings {
		if v := &found.Findings[i]; v.Remedy == exposure.ByCandidate {
			counts[v.Severity]++
		}
	}
	return counts
}

// labelsOf returns the labels of every metric of an image. The owner is one of them, so that alerts can be routed by it.
func labelsOf(img *config.Image) []string {
	return slices.Clip([]string{"image", img.Name, "owner", img.Owner})
}

func kindOf(img *config.Image) string {
	if img.Managed() {
		return "managed"
	}
	return "external"
}

// rebuilds describes the rebuilds that state records: the last one of each image and up to ten before it.
func (s *Set) rebuilds(f *Facts) {
	requested := s.gauge("image_rebuild_requested_timestamp_seconds", "Time when the last rebuild of the image was requested.")
	finished := s.gauge("image_rebuild_finished_timestamp_seconds", "Time when the last rebuild of the image ended, with its status; absent while it runs.")
	last := s.gauge("image_rebuild_duration_seconds", "Duration of the last successful rebuild of the image, from the request to the published image.")
	var all []time.Duration
	for i := range f.Decisions {
		name := f.Decisions[i].Image
		facts := f.State.Images[name]
		if facts == nil || facts.Rebuild == nil {
			continue
		}
		r, labels := facts.Rebuild, labelsOf(f.Config.Find(name))
		requested.at(r.RequestedAt.Time, labels...)
		if !r.Status.Active() {
			finished.at(r.FinishedAt.Time, append(labels, "status", string(r.Status))...)
		}
		for _, r := range slices.Backward(append(slices.Clone(facts.RebuildHistory), *r)) {
			took, ok := r.Duration()
			if !ok {
				continue
			}
			if len(last.Metric) == 0 || last.Metric[len(last.Metric)-1].Label[0].GetValue() != name {
				last.add(took.Seconds(), labels...)
			}
			all = append(all, took)
		}
	}
	s.durations(all)
}

// quantiles of the durations of rebuilds.
var quantiles = []float64{0.5, 0.95, 1}

func (s *Set) durations(all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	sum := 0.0
	for _, d := range all {
		sum += d.Seconds()
	}
	summary := &dto.Summary{SampleCount: proto.Uint64(uint64(len(all))), SampleSum: proto.Float64(sum)}
	for _, q := range quantiles {
		summary.Quantile = append(summary.Quantile, &dto.Quantile{Quantile: proto.Float64(q), Value: proto.Float64(stats.Quantile(all, q).Seconds())})
	}
	s.families = append(s.families, &dto.MetricFamily{
		Name: proto.String(prefix + "rebuild_duration_seconds"), Help: proto.String("Durations of the successful rebuilds that state records, up to eleven of each image."),
		Type: dto.MetricType_SUMMARY.Enum(), Metric: []*dto.Metric{{Summary: summary}},
	})
}

// users is what the images that use a base image make of it.
type users struct {
	images, outdated int
	since            time.Time
}

func (s *Set) bases(f *Facts) {
	used := map[string]users{}
	for i := range f.Decisions {
		for _, b := range distinct(f.Decisions[i].Bases) {
			u := used[b.Base]
			u.images++
			if !b.Outdated.IsZero() {
				u.outdated++
				if u.since.IsZero() || b.Outdated.Before(u.since) {
					u.since = b.Outdated
				}
			}
			used[b.Base] = u
		}
	}
	info := s.gauge("base_info", "A base image in use: its reference; always 1.")
	updated := s.gauge("base_updated_timestamp_seconds", "Time when the tag of the base image was seen to move last.")
	images := s.gauge("base_images", "Number of images that use the base image.")
	outdated := s.gauge("base_outdated_images", "Number of images that are built on an older digest than the base image's tag holds.")
	since := s.gauge("base_outdated_timestamp_seconds", "Time since when the first of these images has been outdated; absent while none is.")
	for _, name := range slices.Sorted(maps.Keys(used)) {
		u, base := used[name], f.State.Bases[name]
		if base == nil {
			continue
		}
		info.add(1, "base", name, "ref", base.Ref())
		updated.at(base.LastUpdated.Time, "base", name)
		images.add(float64(u.images), "base", name)
		outdated.add(float64(u.outdated), "base", name)
		since.at(u.since, "base", name)
	}
}

// distinct returns one decision for each base image, the one that has been outdated for the longest.
func distinct(bases []policy.BaseDecision) []policy.BaseDecision {
	var out []policy.BaseDecision
	for _, b := range bases {
		if b.Base == "" {
			continue
		}
		at := slices.IndexFunc(out, func(o policy.BaseDecision) bool { return o.Base == b.Base })
		switch {
		case at < 0:
			out = append(out, b)
		case !b.Outdated.IsZero() && (out[at].Outdated.IsZero() || b.Outdated.Before(out[at].Outdated)):
			out[at] = b
		}
	}
	return out
}

// newestFact returns the time of the newest fact.
func newestFact(st *state.State) time.Time {
	var newest time.Time
	for _, img := range st.Images {
		seen := []state.Time{img.LastBuilt, img.Unpublished}
		if r := img.Rebuild; r != nil {
			seen = append(seen, r.RequestedAt, r.TriedAt, r.FinishedAt)
		}
		newest = latest(newest, seen)
	}
	for _, base := range st.Bases {
		newest = latest(newest, []state.Time{base.LastUpdated})
	}
	return newest
}

func latest(newest time.Time, seen []state.Time) time.Time {
	for _, t := range seen {
		if t.After(newest) {
			newest = t.Time
		}
	}
	return newest
}
