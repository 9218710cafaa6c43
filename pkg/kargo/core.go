package kargo

// The types of this file are the parts of Kubernetes' own kinds that are written. k8s.io/api is not used for them: its
// types emit `status: {}`, `creationTimestamp: null` and `resources: {}`, which Argo CD shows as differences.

// ServiceAccount is what the Jobs run as.
type ServiceAccount struct {
	Header
	AutomountToken bool `json:"automountServiceAccountToken"`
}

// AccessRole is an RBAC Role.
type AccessRole struct {
	Header
	Rules []PolicyRule `json:"rules"`
}

// PolicyRule is a rule of a Role.
type PolicyRule struct {
	APIGroups     []string `json:"apiGroups"`
	ResourceNames []string `json:"resourceNames,omitempty"`
	Resources     []string `json:"resources"`
	Verbs         []string `json:"verbs"`
}

// RoleBinding binds a Role to the ServiceAccount.
type RoleBinding struct {
	Header
	RoleRef  RoleRef   `json:"roleRef"`
	Subjects []Subject `json:"subjects"`
}

// RoleRef names a Role.
type RoleRef struct {
	APIGroup string `json:"apiGroup"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
}

// Subject names a ServiceAccount.
type Subject struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// CronJob runs a Job on a schedule.
type CronJob struct {
	Header
	Spec CronJobSpec `json:"spec"`
}

// CronJobSpec is the spec of a CronJob.
type CronJobSpec struct {
	ConcurrencyPolicy          string      `json:"concurrencyPolicy"`
	FailedJobsHistoryLimit     int         `json:"failedJobsHistoryLimit"`
	JobTemplate                JobTemplate `json:"jobTemplate"`
	Schedule                   string      `json:"schedule"`
	StartingDeadlineSeconds    int         `json:"startingDeadlineSeconds"`
	SuccessfulJobsHistoryLimit int         `json:"successfulJobsHistoryLimit"`
	TimeZone                   string      `json:"timeZone,omitempty"`
}

// Job runs a pod to its end.
type Job struct {
	Header
	Spec JobSpec `json:"spec"`
}

// JobTemplate makes Jobs.
type JobTemplate struct {
	Metadata TemplateMetadata `json:"metadata"`
	Spec     JobSpec          `json:"spec"`
}

// TemplateMetadata labels what a template makes.
type TemplateMetadata struct {
	Labels Labels `json:"labels"`
}

// JobSpec is the spec of a Job.
type JobSpec struct {
	ActiveDeadlineSeconds   int         `json:"activeDeadlineSeconds"`
	BackoffLimit            int         `json:"backoffLimit"`
	Template                PodTemplate `json:"template"`
	TTLSecondsAfterFinished int         `json:"ttlSecondsAfterFinished"`
}

// PodTemplate makes pods.
type PodTemplate struct {
	Metadata TemplateMetadata `json:"metadata"`
	Spec     PodSpec          `json:"spec"`
}

// PodSpec is the spec of a pod.
type PodSpec struct {
	AutomountToken     bool               `json:"automountServiceAccountToken"`
	Containers         []Container        `json:"containers"`
	RestartPolicy      string             `json:"restartPolicy"`
	SecurityContext    PodSecurityContext `json:"securityContext"`
	ServiceAccountName string             `json:"serviceAccountName"`
	Volumes            []Volume           `json:"volumes"`
}

// PodSecurityContext is the security context of a pod.
type PodSecurityContext struct {
	FSGroup        int            `json:"fsGroup"`
	RunAsGroup     int            `json:"runAsGroup"`
	RunAsNonRoot   bool           `json:"runAsNonRoot"`
	RunAsUser      int            `json:"runAsUser"`
	SeccompProfile SeccompProfile `json:"seccompProfile"`
}

// SeccompProfile is a seccomp profile.
type SeccompProfile struct {
	Type string `json:"type"`
}

// Container is a container of a pod.
type Container struct {
	Args            []string                 `json:"args"`
	Env             []EnvVar                 `json:"env"`
	Image           string                   `json:"image"`
	Name            string                   `json:"name"`
	Resources       Resources                `json:"resources"`
	SecurityContext ContainerSecurityContext `json:"securityContext"`
	VolumeMounts    []VolumeMount            `json:"volumeMounts"`
}

// EnvVar is an environment variable. None holds a secret.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Resources are what a container asks for.
type Resources struct {
	Limits   Quantities `json:"limits"`
	Requests Quantities `json:"requests"`
}

// Quantities are amounts of CPU and memory.
type Quantities struct {
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory"`
}

// ContainerSecurityContext is the security context of a container.
type ContainerSecurityContext struct {
	AllowPrivilegeEscalation bool         `json:"allowPrivilegeEscalation"`
	Capabilities             Capabilities `json:"capabilities"`
	ReadOnlyRootFilesystem   bool         `json:"readOnlyRootFilesystem"`
}

// Capabilities are Linux capabilities.
type Capabilities struct {
	Drop []string `json:"drop"`
}

// VolumeMount mounts a volume.
type VolumeMount struct {
	MountPath string `json:"mountPath"`
	Name      string `json:"name"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}

// Volume is an empty folder, or Secrets as files.
type Volume struct {
	EmptyDir  *EmptyDir        `json:"emptyDir,omitempty"`
	Name      string           `json:"name"`
	Projected *ProjectedVolume `json:"projected,omitempty"`
}

// EmptyDir is an empty folder.
type EmptyDir struct {
	SizeLimit string `json:"sizeLimit"`
}

// ProjectedVolume holds keys of Secrets as files.
type ProjectedVolume struct {
	DefaultMode int                `json:"defaultMode"`
	Sources     []ProjectedSecrets `json:"sources"`
}

// ProjectedSecrets is a source of a ProjectedVolume.
type ProjectedSecrets struct {
	Secret SecretProjection `json:"secret"`
}

// SecretProjection places keys of a Secret.
type SecretProjection struct {
	Items    []KeyToPath `json:"items"`
	Name     string      `json:"name"`
	Optional bool        `json:"optional"`
}

// KeyToPath places a key at a path.
type KeyToPath struct {
	Key  string `json:"key"`
	Path string `json:"path"`
}
