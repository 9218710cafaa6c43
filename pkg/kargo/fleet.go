package kargo

import (
	"maps"
	"slices"
	"strconv"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Sync waves of Argo CD. Warehouses and Stages have none (0), so they come last and together: the Warehouse of an image that
// was never published stays unhealthy, and Argo CD would never start a later wave.
const (
	waveProject = "-2"
	waveShared  = "-1"
)

// Comments of the shared objects.
const (
	aboutProject  = "The Kargo Project of all objects in dist. Kargo creates a namespace with its name."
	aboutPolicies = "Promotes new Freight to the observe Stages automatically. Only the Jobs and people promote to rebuild Stages."
	aboutAccount  = "The account that the Jobs run as."
	aboutAccess   = "Permissions of the Jobs: read Stages, Freight and Promotions, create Promotions, promote to the rebuild Stages."
	aboutAnalysis = "Runs `imagefactory analyze` for each new digest, as the verification of the observe Stages."
	aboutScan     = "Runs `imagefactory scan` on a schedule: it records vulnerabilities, and releases the digests that fix inherited ones as `urgent` says."
	aboutRefresh  = "Renews the token of a GitHub App, with which Kargo starts builds, before it expires."
	aboutToken    = "The token of a GitHub App that Kargo starts builds with. A Job writes it; this file holds none."
	aboutPromote  = "Runs `imagefactory promote` on a schedule: it records the results of rebuilds and starts the next ones."
)

// fleet returns the shared objects: those that exist once per Project.
func (b *builder) fleet() []Object {
	project := &Project{b.header(kargoAPI, "Project", b.cfg.Factory.Project)}
	project.Metadata.Namespace, project.comment = "", aboutProject
	project.Metadata.Annotations = Annotations{
		syncWave:    waveProject,
		description: "Rebuilds container images when their base images change; managed by imagefactory",
	}
	policies := &ProjectConfig{b.shared(kargoAPI, "ProjectConfig", b.cfg.Factory.Project, aboutPolicies), ProjectConfigSpec{
		PromotionPolicies: []PromotionPolicy{{
			StageSelector:        StageSelector{MatchLabels: map[string]string{RoleLabel: string(Observe)}},
			AutoPromotionEnabled: true,
		}},
		StageLinks:       b.stageLinks(),
		WebhookReceivers: receivers(b.cfg.Factory.Receivers),
	}}
	account := &ServiceAccount{Header: b.shared("v1", "ServiceAccount", ServiceAccountName, aboutAccount)}
	maps.Copy(account.Metadata.Labels, b.cfg.Factory.Jobs.ServiceAccountLabels)
	maps.Copy(account.Metadata.Annotations, b.cfg.Factory.Jobs.ServiceAccountAnnotations)
	jobs := []Object{b.cronJob()}
	if scan := b.scanJob(); scan != nil {
		jobs = append(jobs, scan)
	}
	return slices.Concat([]Object{project, policies, account}, b.access(), b.appTokens(), []Object{b.analysisTemplate()}, b.promotionTasks(), jobs)
}

// shared returns the header of a shared object, with a comment that explains it.
func (b *builder) shared(api, kind, name, comment string) Header {
	h := b.header(api, kind, name)
	h.Metadata.Annotations, h.comment = Annotations{syncWave: waveShared}, comment
	return h
}

func (b *builder) promotionTasks() []Object {
	var out []Object
	for _, p := range config.Providers() {
		if b.tasks[p] {
			out = append(out, b.task(p))
		}
	}
	return out
}

// maxResourceNames keeps a Role well below 256 KiB, the limit for the annotation in which kubectl apply and Argo CD store it.
const maxResourceNames = 2000

// access returns the Roles of the Jobs and their bindings. They allow reading Stages, Freight and Promotions, creating
// Promotions, and promoting to the rebuild Stages.
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
		out = append(out, &AccessRole{b.shared(rbacAPI, "Role", name, aboutAccess), rules}, b.binding(name, ServiceAccountName, aboutAccess))
		rules = nil
	}
	return out
}

const (
	rbacGroup = "rbac.authorization.k8s.io"
	rbacAPI   = rbacGroup + "/v1"
)

func (b *builder) binding(role, account, comment string) *RoleBinding {
	return &RoleBinding{
		Header:   b.shared(rbacAPI, "RoleBinding", role, comment),
		RoleRef:  RoleRef{APIGroup: rbacGroup, Kind: "Role", Name: role},
		Subjects: []Subject{{Kind: "ServiceAccount", Name: account, Namespace: b.cfg.Factory.Project}},
	}
}
