package kargo

import (
	"maps"
	"slices"
	"strconv"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Sync waves of Argo CD. Warehouses and Stages have none (0) and so come last, together: a Warehouse of an image that
// was never published is not healthy, and Argo CD would never get to a wave behind it.
const (
	waveProject = "-2"
	waveShared  = "-1"
)

// fleet returns what exists once.
func (b *builder) fleet() []Object {
	project := &Project{b.header(kargoAPI, "Project", b.cfg.Factory.Project)}
	project.Metadata.Namespace = ""
	project.Metadata.Annotations = Annotations{
		syncWave:    waveProject,
		description: "Rebuilds container images when their base images change; managed by imagefactory",
	}
	policies := &ProjectConfig{b.shared(kargoAPI, "ProjectConfig", b.cfg.Factory.Project), ProjectConfigSpec{
		PromotionPolicies: []PromotionPolicy{{
			StageSelector:        StageSelector{MatchLabels: map[string]string{RoleLabel: string(Observe)}},
			AutoPromotionEnabled: true,
		}},
	}}
	account := &ServiceAccount{Header: b.shared("v1", "ServiceAccount", ServiceAccountName)}
	maps.Copy(account.Metadata.Annotations, b.cfg.Factory.Jobs.ServiceAccountAnnotations)
	return slices.Concat([]Object{project, policies, account}, b.access(), []Object{b.analysisTemplate()}, b.promotionTasks(), []Object{b.cronJob()})
}

func (b *builder) shared(api, kind, name string) Header {
	h := b.header(api, kind, name)
	h.Metadata.Annotations = Annotations{syncWave: waveShared}
	return h
}

func (b *builder) promotionTasks() []Object {
	var out []Object
	for _, p := range []config.Provider{config.GitHub, config.GitLab} {
		if b.tasks[p] {
			out = append(out, b.task(p))
		}
	}
	return out
}

// maxResourceNames keeps a Role well below the 256 KiB that kubectl apply and Argo CD may keep of it in an annotation.
const maxResourceNames = 2000

// access returns the Roles of the Jobs and their bindings: to read Stages, Freight and Promotions, to create Promotions
// and to promote the rebuild Stages.
func (b *builder) access() []Object {
	rules := []PolicyRule{
		{APIGroups: []string{kargoGroup}, Resources: []string{"freights", "promotions", "stages"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{kargoGroup}, Resources: []string{"promotions"}, Verbs: []string{"create"}},
	}
	shards := slices.Collect(slices.Chunk(b.rebuilds, maxResourceNames))
	var out []Object
	for i := range max(len(shards), 1) {
		name := ServiceAccountName
		if i > 0 {
			name += "-" + strconv.Itoa(i+1)
		}
		if i < len(shards) {
			rules = append(rules, PolicyRule{APIGroups: []string{kargoGroup}, Resources: []string{"stages"}, ResourceNames: shards[i], Verbs: []string{"promote"}})
		}
		out = append(out, &AccessRole{b.shared(rbacAPI, "Role", name), rules}, b.binding(name))
		rules = nil
	}
	return out
}

const (
	rbacGroup = "rbac.authorization.k8s.io"
	rbacAPI   = rbacGroup + "/v1"
)

func (b *builder) binding(role string) *RoleBinding {
	return &RoleBinding{
		Header:   b.shared(rbacAPI, "RoleBinding", role),
		RoleRef:  RoleRef{APIGroup: rbacGroup, Kind: "Role", Name: role},
		Subjects: []Subject{{Kind: "ServiceAccount", Name: ServiceAccountName, Namespace: b.cfg.Factory.Project}},
	}
}
