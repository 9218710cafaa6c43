package plan_test

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// scanned records a scan of a digest.
func scanned(all map[string]*state.Scans, name, digest string, findings ...scan.Finding) {
	if all[name] == nil {
		all[name] = &state.Scans{Name: name}
	}
	all[name].Set(state.NewScan(digest, "", &scan.Report{Format: scan.Trivy, Scanner: "trivy", OS: "debian 12", Findings: findings, Looked: true}, scan.Critical))
}

// firstDue plays the passes of promote: it judges, then decides, until an image is due.
func firstDue(t *testing.T, f *fleet, image string) (time.Time, policy.Decision) {
	t.Helper()
	schedule, err := cron.ParseStandard(f.cfg.Factory.Schedule)
	require.NoError(t, err)
	g := graph.Build(f.cfg, f.st)
	for at := now; at.Before(now.Add(30 * day)); at = schedule.Next(at) {
		(&exposure.Fleet{Config: f.cfg, State: f.st, Graph: g, Now: at}).Judge()
		for _, d := range policy.Decide(f.cfg, f.st, g, at) {
			if d.Image == image && d.Status == policy.Due {
				return at, d
			}
		}
	}
	require.Fail(t, "never due")
	return time.Time{}, policy.Decision{}
}

// TestScansRelease: a plan has the release of a scan when promote makes it, also where an ignored finding counts again.
func TestScansRelease(t *testing.T) {
	openssl := scan.Finding{ID: "CVE-2026-1", Severity: scan.Critical, Package: "openssl", Installed: "1", Fixed: "2"}
	for name, c := range map[string]struct{ urgent, at string }{
		"young":   {"urgent: {minAge: 1d},", "03-02 07:17"},
		"old":     {"urgent: {minAge: 1h},", "03-01 08:40"},
		"ignored": {"urgent: {minAge: 1h, ignore: [{id: CVE-2026-1, until: 2026-03-03, reason: unused}]},", "03-04 00:17"},
		"no":      {"", "03-08 07:17"},
	} {
		t.Run(name, func(t *testing.T) {
			f := enroll(t, head+entry("web", c.urgent), map[string][]string{"web": {node}})
			f.move(node, "1", 2*time.Hour)
			base := f.st.Base(node).Name
			scanned(f.st.ImageScans, "web", dig("web"), openssl)
			scanned(f.st.BaseScans, base, dig(node+"0"), openssl)
			scanned(f.st.BaseScans, base, dig(node+"1"))
			p := f.plan(t, f.options())
			require.Len(t, p.Items, 1)
			assert.Equal(t, c.at, p.Items[0].At.Format("01-02 15:04"))
			at, d := firstDue(t, f, "web")
			assert.Equal(t, at, p.Items[0].At)
			assert.Equal(t, d.Reason, p.Items[0].Reason)
			assert.Equal(t, name != "no", len(d.Urgent) > 0)
			assert.Equal(t, at.Equal(now), p.Items[0].Status == plan.Now)
		})
	}
}

// TestScansAdd: a rebuild lists what the new digest adds, unless it is ignored by then.
func TestScansAdd(t *testing.T) {
	curl := scan.Finding{ID: "CVE-2026-2", Severity: scan.Critical, Package: "curl", Installed: "1", Fixed: "2"}
	for name, c := range map[string]struct {
		urgent string
		scan   bool
		adds   int
	}{
		"adds":      {"", true, 1},
		"unscanned": {"", false, 0},
		"ignored":   {"urgent: {ignore: [{id: CVE-2026-2, until: 2026-03-30, reason: unused}]},", true, 0},
		"expired":   {"urgent: {ignore: [{id: CVE-2026-2, until: 2026-03-03, reason: unused}]},", true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := enroll(t, head+entry("web", c.urgent), map[string][]string{"web": {node}})
			f.move(node, "1", 2*time.Hour)
			base := f.st.Base(node).Name
			scanned(f.st.BaseScans, base, dig(node+"0"))
			if c.scan {
				scanned(f.st.BaseScans, base, dig(node+"1"), curl)
			}
			p := f.plan(t, f.options())
			require.Len(t, p.Items, 1)
			require.Len(t, p.Items[0].Bases, 1)
			assert.Equal(t, "03-08 07:17", p.Items[0].At.Format("01-02 15:04"))
			adds := p.Items[0].Bases[0].Adds()
			require.Len(t, adds, c.adds)
			if c.adds > 0 {
				assert.Equal(t, "CVE-2026-2", adds[0].ID)
			}
		})
	}
}
