package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// The types in this file are those of a pod's affinity in Kubernetes. They are read from images.yaml and written to dist as they are.

// Affinity is where pods should and should not run.
type Affinity struct {
	Node    *NodeAffinity `yaml:"nodeAffinity,omitempty" json:"nodeAffinity,omitempty" jsonschema_description:"Nodes, by their labels."`
	Pod     *PodAffinity  `yaml:"podAffinity,omitempty" json:"podAffinity,omitempty" jsonschema_description:"Near which other pods."`
	PodAnti *PodAffinity  `yaml:"podAntiAffinity,omitempty" json:"podAntiAffinity,omitempty" jsonschema_description:"Away from which other pods."`
}

// NodeAffinity selects nodes.
type NodeAffinity struct {
	Preferred []PreferredNodes `yaml:"preferredDuringSchedulingIgnoredDuringExecution,omitempty" json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty" jsonschema_description:"Nodes to prefer, by weight."`
	Required  *NodeSelector    `yaml:"requiredDuringSchedulingIgnoredDuringExecution,omitempty" json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty" jsonschema_description:"Nodes that the pods may run on."`
}

// NodeSelector selects nodes that match any of its terms.
type NodeSelector struct {
	Terms []NodeTerm `yaml:"nodeSelectorTerms" json:"nodeSelectorTerms" jsonschema:"required,minItems=1" jsonschema_description:"Any of them must match."`
}

// NodeTerm selects nodes that meet all of its requirements.
type NodeTerm struct {
	Expressions []NodeRequirement `yaml:"matchExpressions" json:"matchExpressions" jsonschema:"required,minItems=1" jsonschema_description:"All of them must hold."`
}

// NodeRequirement is a condition on a label of a node.
type NodeRequirement struct {
	Key      string   `yaml:"key" json:"key" jsonschema:"required" jsonschema_description:"Key of the label."`
	Operator string   `yaml:"operator" json:"operator" jsonschema:"required,enum=In,enum=NotIn,enum=Exists,enum=DoesNotExist,enum=Gt,enum=Lt" jsonschema_description:"How its value is compared."`
	Values   []string `yaml:"values,omitempty" json:"values,omitempty" jsonschema_description:"In and NotIn: the values. Gt and Lt: one whole number."`
}

// PreferredNodes is a preference for nodes.
type PreferredNodes struct {
	Preference NodeTerm `yaml:"preference" json:"preference" jsonschema:"required" jsonschema_description:"Which nodes."`
	Weight     int      `yaml:"weight" json:"weight" jsonschema:"required,minimum=1,maximum=100" jsonschema_description:"From 1 to 100."`
}

// PodAffinity selects nodes by the pods that run on them or near them.
type PodAffinity struct {
	Preferred []PreferredPods `yaml:"preferredDuringSchedulingIgnoredDuringExecution,omitempty" json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty" jsonschema_description:"Preferences, by weight."`
	Required  []PodTerm       `yaml:"requiredDuringSchedulingIgnoredDuringExecution,omitempty" json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty" jsonschema_description:"All of them must hold."`
}

// PodTerm selects pods, and the nodes that share a topology with theirs.
type PodTerm struct {
	LabelSelector     *LabelSelector `yaml:"labelSelector,omitempty" json:"labelSelector,omitempty" jsonschema:"required" jsonschema_description:"Which pods."`
	NamespaceSelector *LabelSelector `yaml:"namespaceSelector,omitempty" json:"namespaceSelector,omitempty" jsonschema_description:"In which namespaces, by label. Default: the namespace of the Jobs."`
	Namespaces        []string       `yaml:"namespaces,omitempty" json:"namespaces,omitempty" jsonschema_description:"In which namespaces. Default: that of the Jobs."`
	TopologyKey       string         `yaml:"topologyKey" json:"topologyKey" jsonschema:"required" jsonschema_description:"Label of the nodes whose value says what is near, such as topology.kubernetes.io/zone."`
}

// LabelSelector selects objects by label.
type LabelSelector struct {
	Expressions []LabelRequirement `yaml:"matchExpressions,omitempty" json:"matchExpressions,omitempty" jsonschema_description:"All of them must hold."`
	Labels      map[string]string  `yaml:"matchLabels,omitempty" json:"matchLabels,omitempty" jsonschema_description:"Labels and their values."`
}

// LabelRequirement is a condition on a label.
type LabelRequirement struct {
	Key      string   `yaml:"key" json:"key" jsonschema:"required" jsonschema_description:"Key of the label."`
	Operator string   `yaml:"operator" json:"operator" jsonschema:"required,enum=In,enum=NotIn,enum=Exists,enum=DoesNotExist" jsonschema_description:"How its value is compared."`
	Values   []string `yaml:"values,omitempty" json:"values,omitempty" jsonschema_description:"In and NotIn: the values."`
}

// PreferredPods is a preference for nodes near pods, or away from them.
type PreferredPods struct {
	Term   PodTerm `yaml:"podAffinityTerm" json:"podAffinityTerm" jsonschema:"required" jsonschema_description:"Which pods."`
	Weight int     `yaml:"weight" json:"weight" jsonschema:"required,minimum=1,maximum=100" jsonschema_description:"From 1 to 100."`
}

const (
	preferredKey = "preferredDuringSchedulingIgnoredDuringExecution"
	requiredKey  = "requiredDuringSchedulingIgnoredDuringExecution"
)

// labelOperators are Kubernetes' names of operators on labels; nodeOperators are those of nodes.
var (
	labelOperators = map[string]selection.Operator{
		"In": selection.In, "NotIn": selection.NotIn, "Exists": selection.Exists, "DoesNotExist": selection.DoesNotExist,
	}
	nodeOperators = map[string]selection.Operator{
		"In": selection.In, "NotIn": selection.NotIn, "Exists": selection.Exists, "DoesNotExist": selection.DoesNotExist,
		"Gt": selection.GreaterThan, "Lt": selection.LessThan,
	}
)

func (v *validator) affinity(n *yaml.Node, at string, a *Affinity) {
	if a == nil {
		return
	}
	if node := a.Node; node != nil {
		n, at := child(n, "nodeAffinity"), at+".nodeAffinity"
		if required := node.Required; required != nil {
			n, at := child(n, requiredKey), at+"."+requiredKey
			if len(required.Terms) == 0 {
				v.add(finding.Missing, orNode(n, v.root), at+": no nodeSelectorTerms, so no node matches", "")
			}
			for i, term := range required.Terms {
				v.nodeTerm(item(child(n, "nodeSelectorTerms"), i), fmt.Sprintf("%s.nodeSelectorTerms[%d]", at, i), term)
			}
		}
		for i, preferred := range node.Preferred {
			n, at := item(child(n, preferredKey), i), fmt.Sprintf("%s.%s[%d]", at, preferredKey, i)
			v.weight(n, at, preferred.Weight)
			v.nodeTerm(orNode(child(n, "preference"), n), at+".preference", preferred.Preference)
		}
	}
	v.podAffinity(child(n, "podAffinity"), at+".podAffinity", a.Pod)
	v.podAffinity(child(n, "podAntiAffinity"), at+".podAntiAffinity", a.PodAnti)
}

func (v *validator) podAffinity(n *yaml.Node, at string, a *PodAffinity) {
	if a == nil {
		return
	}
	for i := range a.Required {
		v.podTerm(item(child(n, requiredKey), i), fmt.Sprintf("%s.%s[%d]", at, requiredKey, i), &a.Required[i])
	}
	for i := range a.Preferred {
		n, at := item(child(n, preferredKey), i), fmt.Sprintf("%s.%s[%d]", at, preferredKey, i)
		v.weight(n, at, a.Preferred[i].Weight)
		v.podTerm(orNode(child(n, "podAffinityTerm"), n), at+".podAffinityTerm", &a.Preferred[i].Term)
	}
}

func (v *validator) weight(n *yaml.Node, at string, weight int) {
	if weight < 1 || weight > 100 {
		v.check(orNode(child(n, "weight"), n), at+".weight", fmt.Errorf("%d: want a number from 1 to 100", weight))
	}
}

func (v *validator) nodeTerm(n *yaml.Node, at string, term NodeTerm) {
	if len(term.Expressions) == 0 {
		v.add(finding.Missing, orNode(n, v.root), at+": no matchExpressions, so no node matches", "")
	}
	for i, e := range term.Expressions {
		v.requirement(item(child(n, "matchExpressions"), i), fmt.Sprintf("%s.matchExpressions[%d]", at, i), LabelRequirement(e), nodeOperators)
	}
}

func (v *validator) podTerm(n *yaml.Node, at string, term *PodTerm) {
	if term.TopologyKey == "" {
		v.missing(orNode(n, v.root), "topologyKey", at+": topologyKey is missing")
	} else {
		v.check(child(n, "topologyKey"), at+".topologyKey", firstProblem(term.TopologyKey, validation.IsQualifiedName(term.TopologyKey)))
	}
	if term.LabelSelector == nil {
		v.missing(orNode(n, v.root), "labelSelector", at+": labelSelector is missing, so no pod matches")
	}
	v.labelSelector(child(n, "labelSelector"), at+".labelSelector", term.LabelSelector)
	v.labelSelector(child(n, "namespaceSelector"), at+".namespaceSelector", term.NamespaceSelector)
	for i, name := range term.Namespaces {
		v.check(item(child(n, "namespaces"), i), fmt.Sprintf("%s.namespaces[%d]", at, i), firstProblem(name, validation.IsDNS1123Label(name)))
	}
}

func (v *validator) labelSelector(n *yaml.Node, at string, s *LabelSelector) {
	if s == nil {
		return
	}
	v.labels(child(n, "matchLabels"), at+".matchLabels", s.Labels, nil)
	for i, e := range s.Expressions {
		v.requirement(item(child(n, "matchExpressions"), i), fmt.Sprintf("%s.matchExpressions[%d]", at, i), e, labelOperators)
	}
}

// requirement checks a condition as Kubernetes does.
func (v *validator) requirement(n *yaml.Node, at string, r LabelRequirement, operators map[string]selection.Operator) {
	operator, known := operators[r.Operator]
	if !known {
		v.add(finding.BadValue, orNode(orNode(child(n, "operator"), n), v.root), fmt.Sprintf("%s.operator: unknown operator %q", at, r.Operator),
			suggest(r.Operator, slices.Sorted(maps.Keys(operators))))
		return
	}
	_, err := labels.NewRequirement(r.Key, operator, r.Values)
	var list utilerrors.Aggregate
	var wrong *field.Error
	if errors.As(err, &list) && errors.As(list.Errors()[0], &wrong) {
		key, _, _ := strings.Cut(wrong.Field, "[") // key or values
		v.check(orNode(child(n, key), n), at+"."+key, errors.New(wrong.Detail))
	}
}
