package kargo

import "github.com/imagefactory/imagefactory/pkg/config"

// The types in this file are Kubernetes' own kinds, with only the fields that dist contains. The types of k8s.io/api would emit
// `status: {}`, `creationTimestamp: null` and `resources: {}`, which Argo CD shows as differences.

// ServiceAccount is the account that the Jobs run as.
type ServiceAccount struct {
	Header
	AutomountToken bool `json:"automountServiceAccountToken"`
}

// SecretObject is a Secret without its data, which a Job writes.
type SecretObject struct {
	Header
	Type string `json:"type"`
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
	Suspend                    bool        `json:"suspend"` // written out, so that Argo CD resumes what was suspended by hand
	TimeZone                   string      `json:"timeZone,omitempty"`
}

// Job runs a pod to completion.
type Job struct {
	Header
	Spec JobSpec `json:"spec"`
}

// JobTemplate is a template for Jobs.
type JobTemplate struct {
	Metadata TemplateMetadata `json:"metadata"`
	Spec     JobSpec          `json:"spec"`
}

// TemplateMetadata holds the labels of the objects that a template creates.
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

// PodTemplate is a template for pods.
type PodTemplate struct {
	Metadata PodMetadata `json:"metadata"`
	Spec     PodSpec     `json:"spec"`
}

// PodMetadata is the metadata of a pod.
type PodMetadata struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	Labels      map[string]string `json:"labels"`
}

// PodSpec is the spec of a pod.
type PodSpec struct {
	Affinity           *config.Affinity   `json:"affinity,omitempty"`
	AutomountToken     bool               `json:"automountServiceAccountToken"`
	Containers         []Container        `json:"containers"`
	ImagePullSecrets   []ObjectName       `json:"imagePullSecrets,omitempty"`
	InitContainers     []Container        `json:"initContainers,omitempty"`
	NodeSelector       map[string]string  `json:"nodeSelector,omitempty"`
	PriorityClassName  string             `json:"priorityClassName,omitempty"`
	RestartPolicy      string             `json:"restartPolicy"`
	SecurityContext    PodSecurityContext `json:"securityContext"`
	ServiceAccountName string             `json:"serviceAccountName"`
	Tolerations        []Toleration       `json:"tolerations,omitempty"`
	Volumes            []Volume           `json:"volumes"`
}

// ObjectName names an object.
type ObjectName struct {
	Name string `json:"name"`
}

// Toleration is a taint that a pod tolerates.
type Toleration struct {
	Effect            string `json:"effect,omitempty"`
	Key               string `json:"key,omitempty"`
	Operator          string `json:"operator,omitempty"`
	TolerationSeconds *int   `json:"tolerationSeconds,omitempty"`
	Value             string `json:"value,omitempty"`
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
	Command         []string                 `json:"command,omitempty"`
	Env             []EnvVar                 `json:"env"`
	EnvFrom         []EnvFrom                `json:"envFrom,omitempty"`
	Image           string                   `json:"image"`
	Name            string                   `json:"name"`
	Resources       Resources                `json:"resources"`
	SecurityContext ContainerSecurityContext `json:"securityContext"`
	VolumeMounts    []VolumeMount            `json:"volumeMounts"`
}

// EnvVar is an environment variable. None holds a secret; ValueFrom may name one.
type EnvVar struct {
	Name      string     `json:"name"`
	Value     string     `json:"value,omitempty"`
	ValueFrom *ValueFrom `json:"valueFrom,omitempty"`
}

// ValueFrom names the key that holds a value.
type ValueFrom struct {
	ConfigMap *KeyRef `json:"configMapKeyRef,omitempty"`
	Secret    *KeyRef `json:"secretKeyRef,omitempty"`
}

// KeyRef names a key of an object.
type KeyRef struct {
	Key      string `json:"key"`
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
}

// EnvFrom names an object whose keys become environment variables.
type EnvFrom struct {
	ConfigMap *ObjectRef `json:"configMapRef,omitempty"`
	Secret    *ObjectRef `json:"secretRef,omitempty"`
}

// ObjectRef names an object that may be missing.
type ObjectRef struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
}

// Resources holds the resource requests and limits of a container.
type Resources struct {
	Limits   Quantities `json:"limits"`
	Requests Quantities `json:"requests"`
}

// Quantities are amounts of CPU and memory.
type Quantities struct {
	CPU     string `json:"cpu,omitempty"`
	Storage string `json:"ephemeral-storage,omitempty"`
	Memory  string `json:"memory"`
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

// Volume is an empty folder, or keys of Secrets and ConfigMaps as files.
type Volume struct {
	EmptyDir  *EmptyDir        `json:"emptyDir,omitempty"`
	Name      string           `json:"name"`
	Projected *ProjectedVolume `json:"projected,omitempty"`
}

// EmptyDir is an empty folder.
type EmptyDir struct {
	SizeLimit string `json:"sizeLimit"`
}

// ProjectedVolume holds keys of Secrets and ConfigMaps as files.
type ProjectedVolume struct {
	DefaultMode int          `json:"defaultMode"`
	Sources     []Projection `json:"sources"`
}

// Projection is a source of a ProjectedVolume.
type Projection struct {
	ConfigMap *KeyProjection `json:"configMap,omitempty"`
	Secret    *KeyProjection `json:"secret,omitempty"`
}

// KeyProjection mounts keys of an object as files.
type KeyProjection struct {
	Items    []KeyToPath `json:"items"`
	Name     string      `json:"name"`
	Optional bool        `json:"optional"`
}

// KeyToPath mounts a key at a path.
type KeyToPath struct {
	Key  string `json:"key"`
	Path string `json:"path"`
}
