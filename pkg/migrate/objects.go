package migrate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// Object identifies a Kubernetes object. Namespace is empty for a cluster-scoped object.
type Object struct {
	Kind, Namespace, Name string
}

// Resource returns the resource name for kubectl, with the group if another API has the same kind.
func (o Object) Resource() string {
	switch o.Kind {
	case "Stage", "Warehouse", "Project", "ProjectConfig", "PromotionTask":
		return strings.ToLower(o.Kind) + "s.kargo.akuity.io"
	case "AnalysisTemplate":
		return "analysistemplates.argoproj.io"
	default:
		return strings.ToLower(o.Kind)
	}
}

const (
	oldTemplate  = "analyze-dockerfile"
	oldConfigMap = "image-factory-analysis"
)

// objects returns the unneeded objects of the old tool: those derived from its names, and those in its dist folder. Objects with
// invalid names are left out, because they cannot exist.
func (m *migration) objects() {
	old := map[Object]bool{}
	add := func(kind, name string) {
		if len(validation.IsDNS1123Subdomain(name)) == 0 {
			old[Object{kind, config.DefaultProject, name}] = true
		}
	}
	for _, e := range m.entries {
		m.oldObjects(e.old, add)
	}
	for _, d := range m.images {
		m.oldObjects(d.name, add)
	}
	for _, d := range m.bases {
		add("Warehouse", d.name)
	}
	add("AnalysisTemplate", oldTemplate)
	add("ConfigMap", oldConfigMap)
	for _, file := range m.Layout.dist {
		const maxBytes = 64 << 20
		if data, err := readFile(m.fsys, file, maxBytes); err != nil {
			m.warn(file, &yaml.Node{}, "not read: "+err.Error(), "objects named only there are missing from the list of objects to delete")
		} else {
			m.generated(file, data, add)
		}
	}
	for _, o := range []Object{
		{"Namespace", "", config.DefaultProject}, {"Project", "", config.DefaultProject}, {"ProjectConfig", config.DefaultProject, config.DefaultProject},
		{"ServiceAccount", config.DefaultProject, kargo.ServiceAccountName},
	} {
		m.Kept = append(m.Kept, o)
		delete(old, o)
	}
	for _, o := range m.newObjects() {
		if old[o] {
			m.Kept = append(m.Kept, o)
			delete(old, o)
		}
	}
	order := []string{"Stage", "Warehouse", "AnalysisTemplate", "ConfigMap"}
	m.Old = slices.SortedFunc(maps.Keys(old), func(a, b Object) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Name, b.Name))
	})
}

// oldObjects adds the objects that the old tool generated for an image.
func (m *migration) oldObjects(name string, add func(kind, name string)) {
	add("Warehouse", name)
	d := m.stateOf(name)
	var used *yaml.Node
	if d != nil {
		used = get(d.root, "baseImages")
	}
	if e := m.entryOf(name); e != nil && e.managed || used != nil && !isEmpty(used) {
		add("Stage", "analyze-dockerfile-"+name)
	}
	if used != nil {
		for _, item := range used.Content {
			add("Stage", "rebuild-trigger-"+name+"-from-"+text(item))
		}
	}
}

// generated adds the objects in the dist folder of the old tool.
func (m *migration) generated(file string, data []byte, add func(kind, name string)) {
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc struct {
			Kind     string
			Metadata struct{ Name string }
		}
		err := dec.Decode(&doc)
		var types *yaml.TypeError
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil && !errors.As(err, &types):
			m.warn(file, &yaml.Node{Line: 1, Column: 1}, "only read in part: "+strings.Join(strings.Fields(err.Error()), " "), "objects named only there are missing from the list of objects to delete")
			return
		}
		switch doc.Kind {
		case "Stage", "Warehouse", "AnalysisTemplate", "ConfigMap":
			add(doc.Kind, doc.Metadata.Name)
		case "", "Namespace", "Project", "ProjectConfig", "ServiceAccount":
		default:
			m.warn(file, &yaml.Node{}, fmt.Sprintf("%s %s is not in the list of objects to delete: unknown purpose", doc.Kind, printable(doc.Metadata.Name)),
				"delete it by hand if nothing else needs it")
		}
	}
}

// newObjects returns the new objects of kinds that the old tool used as well.
func (m *migration) newObjects() []Object {
	var out []Object
	add := func(kind, name string) { out = append(out, Object{kind, config.DefaultProject, name}) }
	for _, name := range m.cfg.Names() {
		add("Warehouse", kargo.ImageWarehouse(name))
		add("Stage", "observe-"+kargo.ImageWarehouse(name))
		add("Stage", kargo.RebuildStage(name))
	}
	for _, name := range slices.Sorted(maps.Keys(m.st.Bases)) {
		add("Warehouse", kargo.BaseWarehouse(name))
		add("Stage", "observe-"+kargo.BaseWarehouse(name))
	}
	add("AnalysisTemplate", kargo.AnalysisTemplateName)
	return out
}
