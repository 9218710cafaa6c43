package kargo

// Object is one resource of dist, ready to be encoded.
type Object interface {
	Kind() string
	Name() string
	Namespace() string // empty for a cluster-scoped object
	Comment() string   // one line that explains the object to a reviewer

	Subject() (base, image string) // base image or enrolled image that the object is for; may both be empty
}

// Header holds the fields that every object starts with.
type Header struct {
	APIVersion string   `json:"apiVersion"`
	ObjectKind string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`

	comment string
}

// Kind returns the object's kind.
func (h *Header) Kind() string { return h.ObjectKind }

// Name returns the object's name.
func (h *Header) Name() string { return h.Metadata.Name }

// Namespace returns the object's namespace, or "" for a cluster-scoped object.
func (h *Header) Namespace() string { return h.Metadata.Namespace }

// Subject returns the base image or enrolled image that the object is for, or "" for both if the object is shared.
func (h *Header) Subject() (base, image string) {
	return h.Metadata.Labels[baseLabel], h.Metadata.Labels[ImageLabel]
}

// Comment returns one printable line that explains the object to a reviewer: its image, or the purpose of a shared object.
func (h *Header) Comment() string { return h.comment }

// Metadata holds the fields of Kubernetes' ObjectMeta that dist contains.
type Metadata struct {
	Name        string      `json:"name"`
	Namespace   string      `json:"namespace,omitempty"`
	Labels      Labels      `json:"labels"`
	Annotations Annotations `json:"annotations,omitempty"`
}

// Annotations are an object's annotations.
type Annotations map[string]string

// syncWave is Argo CD's annotation for the order in which objects are applied.
const syncWave = "argocd.argoproj.io/sync-wave"

// description is Kargo's annotation for the text that its UI shows beside an object.
const description = "kargo.akuity.io/description"

const (
	color         = "kargo.akuity.io/color"       // Kargo's annotation for the colour of a Stage in its UI
	dockerfileURL = "imagefactory/dockerfile-url" // read by the links of Stages
)

// Colours of Stages, one for each kind.
const (
	colorOfBase    = "#0DAFD3" // observes a base image
	colorOfImage   = "#7851AA" // observes an enrolled image
	colorOfRebuild = "#FE7537"
)

// Labels are an object's labels: those below and, for the objects of an enrolled image, the labels of its entry.
type Labels map[string]string

// Role is the purpose of a Stage.
type Role string

// Roles of Stages. Only observe Stages are promoted automatically; see [ProjectConfig].
const (
	Observe Role = "observe"
	Rebuild Role = "rebuild"
)

// Keys of labels.
const (
	RoleLabel  = "imagefactory/role"
	ImageLabel = "imagefactory/image"
	baseLabel  = "imagefactory/base"
	ownerLabel = "imagefactory/owner"
	// RebuildLabel is the label of the Promotions that imagefactory creates; its value is the ID of the rebuild.
	RebuildLabel = "imagefactory/rebuild"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "imagefactory"
	kargoAPI       = "kargo.akuity.io/v1alpha1"
	argoAPI        = "argoproj.io/v1alpha1"
	kargoGroup     = "kargo.akuity.io"
)

// Project is Kargo's Project. It is cluster-scoped, and Kargo creates a namespace with its name.
type Project struct {
	Header
}

// ProjectConfig configures a Project; it has the Project's name.
type ProjectConfig struct {
	Header
	Spec ProjectConfigSpec `json:"spec"`
}

// ProjectConfigSpec is the spec of a ProjectConfig.
type ProjectConfigSpec struct {
	PromotionPolicies []PromotionPolicy `json:"promotionPolicies"`
	StageLinks        []DeepLink        `json:"stageLinks,omitempty"`
	WebhookReceivers  []WebhookReceiver `json:"webhookReceivers,omitempty"`
}

// WebhookReceiver makes Kargo accept the webhooks of one sender.
type WebhookReceiver struct {
	Artifactory *Receiver `json:"artifactory,omitempty"`
	Azure       *Receiver `json:"azure,omitempty"`
	DockerHub   *Receiver `json:"dockerhub,omitempty"`
	Generic     *Receiver `json:"generic,omitempty"`
	GitHub      *Receiver `json:"github,omitempty"`
	Harbor      *Receiver `json:"harbor,omitempty"`
	Name        string    `json:"name"`
	Quay        *Receiver `json:"quay,omitempty"`
}

// Receiver configures a WebhookReceiver.
type Receiver struct {
	Actions         []ReceiverAction `json:"actions,omitempty"`
	SecretRef       ObjectName       `json:"secretRef"`
	VirtualRepoName string           `json:"virtualRepoName,omitempty"`
}

// ReceiverAction is what a generic receiver does with a request.
type ReceiverAction struct {
	Action  string           `json:"action"`
	Targets []ReceiverTarget `json:"targetSelectionCriteria"`
}

// ReceiverTarget selects the objects of a ReceiverAction.
type ReceiverTarget struct {
	IndexSelector IndexSelector `json:"indexSelector"`
	Kind          string        `json:"kind"`
}

// IndexSelector selects objects by an index that Kargo keeps.
type IndexSelector struct {
	MatchIndices []IndexRequirement `json:"matchIndices"`
}

// IndexRequirement is a condition on the value in an index.
type IndexRequirement struct {
	Key      string `json:"key"`
	Operator string `json:"operator"`
	Value    string `json:"value"`
}

// DeepLink is a link that Kargo's UI shows for each Stage if the expression If is true. URL is a template of Go.
type DeepLink struct {
	If    string `json:"if"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// PromotionPolicy allows auto-promotion for the Stages that a selector matches.
type PromotionPolicy struct {
	AutoPromotionEnabled bool          `json:"autoPromotionEnabled"`
	StageSelector        StageSelector `json:"stageSelector"`
}

// StageSelector selects Stages by label.
type StageSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// Warehouse watches one repository.
type Warehouse struct {
	Header
	Spec WarehouseSpec `json:"spec"`
}

// WarehouseSpec is the spec of a Warehouse.
type WarehouseSpec struct {
	FreightCreationPolicy string         `json:"freightCreationPolicy"`
	Interval              string         `json:"interval"`
	Subscriptions         []Subscription `json:"subscriptions"`
}

// Subscription is an artifact that a Warehouse watches.
type Subscription struct {
	Image ImageSubscription `json:"image"`
}

// ImageSubscription watches the tags of an image repository.
type ImageSubscription struct {
	AllowTagsRegexes       []string `json:"allowTagsRegexes,omitempty"`
	Constraint             string   `json:"constraint,omitempty"`
	DiscoveryLimit         int      `json:"discoveryLimit"`
	IgnoreTagsRegexes      []string `json:"ignoreTagsRegexes,omitempty"`
	ImageSelectionStrategy string   `json:"imageSelectionStrategy"`
	RepoURL                string   `json:"repoURL"`
	StrictSemvers          bool     `json:"strictSemvers"`
}

// Stage takes Freight from Warehouses.
type Stage struct {
	Header
	Spec StageSpec `json:"spec"`
}

// StageSpec is the spec of a Stage.
type StageSpec struct {
	PromotionTemplate PromotionTemplate `json:"promotionTemplate"`
	RequestedFreight  []FreightRequest  `json:"requestedFreight"`
	Verification      *Verification     `json:"verification,omitempty"`
}

// FreightRequest names a Warehouse whose Freight a Stage takes.
type FreightRequest struct {
	Origin  FreightOrigin  `json:"origin"`
	Sources FreightSources `json:"sources"`
}

// FreightOrigin is a Warehouse.
type FreightOrigin struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// FreightSources makes Freight come directly from its Warehouse.
type FreightSources struct {
	Direct bool `json:"direct"`
}

// PromotionTemplate holds the steps of the Promotions to a Stage.
type PromotionTemplate struct {
	Spec PromotionTemplateSpec `json:"spec"`
}

// PromotionTemplateSpec is the spec of a PromotionTemplate.
type PromotionTemplateSpec struct {
	Steps []Step `json:"steps"`
}

// Step is a promotion step: a builtin one (Uses) or a PromotionTask (Task).
type Step struct {
	As     string   `json:"as,omitempty"`
	Config any      `json:"config,omitempty"`
	If     string   `json:"if,omitempty"`
	Retry  *Retry   `json:"retry,omitempty"`
	Task   *TaskRef `json:"task,omitempty"`
	Uses   string   `json:"uses,omitempty"`
	Vars   []Var    `json:"vars,omitempty"`
}

// TaskRef names a PromotionTask.
type TaskRef struct {
	Name string `json:"name"`
}

// Retry bounds the attempts of a step.
type Retry struct {
	ErrorThreshold int    `json:"errorThreshold"`
	Timeout        string `json:"timeout"`
}

// Var is a variable of a PromotionTask. Its value is a template.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Verification runs an AnalysisTemplate after each Promotion.
type Verification struct {
	AnalysisTemplates []TemplateRef `json:"analysisTemplates"`
	Args              []Var         `json:"args"`
}

// TemplateRef names an AnalysisTemplate.
type TemplateRef struct {
	Name string `json:"name"`
}

// PromotionTask holds the steps of a rebuild once for all Stages.
type PromotionTask struct {
	Header
	Spec PromotionTaskSpec `json:"spec"`
}

// PromotionTaskSpec is the spec of a PromotionTask.
type PromotionTaskSpec struct {
	Steps []Step `json:"steps"`
	Vars  []Var  `json:"vars"`
}

// HTTPConfig is the configuration of Kargo's step http.
type HTTPConfig struct {
	Body              string       `json:"body,omitempty"`
	ErrorExpression   string       `json:"errorExpression"`
	FailureExpression string       `json:"failureExpression"`
	Headers           []HTTPHeader `json:"headers"`
	Method            string       `json:"method"`
	Outputs           []HTTPOutput `json:"outputs,omitempty"`
	PollInterval      string       `json:"pollInterval"`
	SuccessExpression string       `json:"successExpression"`
	Timeout           string       `json:"timeout"`
	URL               string       `json:"url"`
}

// HTTPHeader is a header of a request.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HTTPOutput is an output of the step, extracted from the response.
type HTTPOutput struct {
	Name           string `json:"name"`
	FromExpression string `json:"fromExpression"`
}

// AnalysisTemplate is the Argo Rollouts resource that runs the analysis.
type AnalysisTemplate struct {
	Header
	Spec AnalysisTemplateSpec `json:"spec"`
}

// AnalysisTemplateSpec is the spec of an AnalysisTemplate.
type AnalysisTemplateSpec struct {
	Args    []Arg    `json:"args"`
	Metrics []Metric `json:"metrics"`
}

// Arg is an argument of an AnalysisTemplate. Callers must set it if it has no value.
type Arg struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Metric is a measurement that is repeated until it succeeds.
type Metric struct {
	ConsecutiveErrorLimit   int      `json:"consecutiveErrorLimit"`
	ConsecutiveSuccessLimit int      `json:"consecutiveSuccessLimit"`
	Count                   int      `json:"count"`
	FailureLimit            int      `json:"failureLimit"`
	Interval                string   `json:"interval"`
	Name                    string   `json:"name"`
	Provider                Provider `json:"provider"`
}

// Provider takes the measurement with a Job.
type Provider struct {
	Job JobTemplate `json:"job"`
}
