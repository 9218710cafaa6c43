package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// Live is what needs attention in a Project, as Kargo sees it.
type Live struct {
	Project  string    `json:"project"`
	Problems []Problem `json:"problems"` // by object
	Unread   []Unread  `json:"unread"`   // nothing is known of these
}

// Problem is an object of Kargo that needs attention.
type Problem struct {
	Object    string    `json:"object"` // Stage/observe-base-node-22
	Warehouse string    `json:"warehouse,omitempty"`
	Image     string    `json:"image,omitempty"` // whose rebuild Stage it is about
	Message   string    `json:"message"`
	Fix       string    `json:"fix"`
	Since     time.Time `json:"since,omitzero"`
}

// Unread is a kind of objects that could not be read.
type Unread struct {
	Resource string `json:"resource"`
	Error    string `json:"error"`
}

// Live reads the Warehouses, Stages and Promotions of a Project and returns what needs attention. A kind that cannot be read
// is in Unread.
func (i *Inspector) Live(ctx context.Context, project string) *Live {
	l := &Live{Project: project, Problems: []Problem{}, Unread: []Unread{}}
	for _, kind := range []struct {
		resource string
		read     func([]map[string]any)
	}{{"warehouses", l.warehouses}, {"stages", l.stages}, {"promotions", l.promotions}} {
		list, err := i.List(ctx, "/apis/"+group+"/"+version+"/namespaces/"+project+"/"+kind.resource, "")
		if err == nil {
			kind.read(list)
			continue
		}
		l.Unread = append(l.Unread, Unread{kind.resource, l.explain(err, kind.resource)})
		if status := (*statusError)(nil); !errors.As(err, &status) {
			l.Unread[len(l.Unread)-1].Resource = "cluster"
			break // the others would fail in the same way
		}
	}
	slices.SortStableFunc(l.Problems, func(a, b Problem) int { return cmp.Compare(a.Object, b.Object) })
	return l
}

func (l *Live) explain(err error, resource string) string {
	switch {
	case IsStatus(err, http.StatusForbidden):
		return fmt.Sprintf("no permission to list %s in namespace %s (run this with an account that has it)", resource, l.Project)
	case IsStatus(err, http.StatusUnauthorized):
		return "the API server refuses the credential (sign in to the cluster again)"
	case IsStatus(err, http.StatusNotFound):
		return fmt.Sprintf("no %s in the cluster (is Kargo installed?)", resource)
	}
	return err.Error()
}

func (l *Live) add(p Problem) { l.Problems = append(l.Problems, p) }

// field returns a text of an object, cleaned; a field of another type counts as missing.
func field(o map[string]any, fields ...string) string {
	s, _, _ := unstructured.NestedString(o, fields...)
	return text(s, 300)
}

func timeOf(o map[string]any, fields ...string) time.Time {
	t, err := time.Parse(time.RFC3339, field(o, fields...))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// warehouses adds the Warehouses without Freight.
func (l *Live) warehouses(list []map[string]any) {
	for _, w := range list {
		if field(w, "metadata", "labels", "app.kubernetes.io/managed-by") != "imagefactory" || field(w, "status", "lastFreightID") != "" {
			continue
		}
		name, why := field(w, "metadata", "name"), ""
		conditions, _, _ := unstructured.NestedSlice(w, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && field(c, "status") == "False" && field(c, "message") != "" {
				why = ": " + field(c, "message")
			}
		}
		l.add(Problem{
			Object: "Warehouse/" + name, Warehouse: name, Message: "no Freight" + why, Since: timeOf(w, "metadata", "creationTimestamp"),
			Fix: "check credentials and tags with `imagefactory doctor`, then refresh the Warehouse in Kargo's UI",
		})
	}
}

// stages adds failed verifications and auto-promotion holds.
func (l *Live) stages(list []map[string]any) {
	for _, s := range list {
		if field(s, "metadata", "labels", kargo.RoleLabel) != string(kargo.Observe) {
			continue
		}
		name := field(s, "metadata", "name")
		warehouse := strings.TrimPrefix(name, string(kargo.Observe)+"-")
		if v := lastVerification(s); v != nil {
			message := "verification " + strings.ToLower(field(v, "phase"))
			if m := field(v, "message"); m != "" {
				message += ": " + m
			}
			l.add(Problem{
				Object: "Stage/" + name, Warehouse: warehouse, Message: message, Since: timeOf(v, "finishTime"),
				Fix: fmt.Sprintf("kubectl annotate stage %s -n %s %s/reverify=%s --overwrite", name, l.Project, group, field(v, "id")),
			})
		}
		for _, h := range holdsOf(&unstructured.Unstructured{Object: s}) {
			l.add(Problem{
				Object: "Stage/" + name, Warehouse: h.Warehouse, Message: "auto-promotion is on hold: " + cmp.Or(h.Actor, "somebody") + " promoted other Freight by hand",
				Fix: fmt.Sprintf("kargo promote --project %s --stage %s --warehouse %s, or Resume in Kargo's UI", l.Project, name, h.Warehouse),
			})
		}
	}
}

// lastVerification returns the last verification of the Freight in a Stage if it ended without success, or nil.
func lastVerification(stage map[string]any) map[string]any {
	history, _, _ := unstructured.NestedSlice(stage, "status", "freightHistory")
	if len(history) == 0 {
		return nil
	}
	current, _ := history[0].(map[string]any)
	list, _, _ := unstructured.NestedSlice(current, "verificationHistory")
	if len(list) == 0 {
		return nil
	}
	last, _ := list[0].(map[string]any)
	switch field(last, "phase") {
	case "Failed", "Error", "Aborted", "Inconclusive":
		return last
	}
	return nil
}

// promotions adds the Promotions that wait, and the last one of each Stage if it failed.
func (l *Live) promotions(list []map[string]any) {
	slices.SortStableFunc(list, func(a, b map[string]any) int {
		return cmp.Or(timeOf(a, "metadata", "creationTimestamp").Compare(timeOf(b, "metadata", "creationTimestamp")), cmp.Compare(field(a, "metadata", "name"), field(b, "metadata", "name")))
	})
	last := map[string]map[string]any{}
	for _, p := range list {
		stage := field(p, "spec", "stage")
		image, isRebuild := strings.CutPrefix(stage, kargo.RebuildStage(""))
		if !isRebuild && !strings.HasPrefix(stage, string(kargo.Observe)+"-") {
			continue
		}
		last[stage] = p
		if phase := field(p, "status", "phase"); phase == "" || phase == "Pending" {
			l.add(Problem{
				Object: "Promotion/" + field(p, "metadata", "name"), Image: image, Warehouse: warehouseOf(stage), Message: "waits behind another Promotion of Stage " + stage,
				Since: timeOf(p, "metadata", "creationTimestamp"), Fix: "it starts when that one has ended; if none runs, look at the log of Kargo's controller",
			})
		}
	}
	for stage, p := range last {
		phase := field(p, "status", "phase")
		if phase != "Failed" && phase != "Errored" && phase != "Aborted" {
			continue
		}
		image, isRebuild := strings.CutPrefix(stage, kargo.RebuildStage(""))
		warehouse := warehouseOf(stage)
		fix := fmt.Sprintf("kargo promote --project %s --stage %s --warehouse %s", l.Project, stage, warehouse)
		if isRebuild {
			fix = "`imagefactory describe " + image + "` shows the run and when it is tried again"
		} else {
			image = ""
		}
		message := strings.ToLower(phase)
		if m := field(p, "status", "message"); m != "" {
			message += ": " + m
		}
		l.add(Problem{Object: "Promotion/" + field(p, "metadata", "name"), Image: image, Warehouse: warehouse, Message: message, Since: timeOf(p, "status", "finishedAt"), Fix: fix})
	}
}

// warehouseOf returns the Warehouse of an observe Stage, or "".
func warehouseOf(stage string) string {
	warehouse, ok := strings.CutPrefix(stage, string(kargo.Observe)+"-")
	if !ok {
		return ""
	}
	return warehouse
}
