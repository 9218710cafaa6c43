package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Jobs holds the settings of the Jobs in the cluster: the analysis and the CronJob promote.
type Jobs struct {
	Env                       map[string]*EnvValue `yaml:"env" jsonschema_description:"Environment variables: a plain value, or a key of a Secret or ConfigMap."`
	EnvFrom                   []EnvSource          `yaml:"envFrom" jsonschema_description:"Secrets and ConfigMaps whose keys all become environment variables."`
	Proxy                     Proxy                `yaml:"proxy" jsonschema_description:"HTTP proxy for registries, forges and git servers."`
	CABundle                  *ObjectKey           `yaml:"caBundle" jsonschema_description:"Certificates of private CAs, in PEM, trusted in addition to those of the image. Default key ca.crt."`
	ImagePullSecrets          []string             `yaml:"imagePullSecrets" jsonschema_description:"Secrets to pull analysisImage with."`
	NodeSelector              map[string]string    `yaml:"nodeSelector" jsonschema_description:"Labels of the nodes that the Jobs may run on."`
	Tolerations               []Toleration         `yaml:"tolerations" jsonschema_description:"Taints of nodes that the Jobs tolerate."`
	Affinity                  *Affinity            `yaml:"affinity" jsonschema_description:"Where the pods should and should not run, as in a pod."`
	Resources                 Resources            `yaml:"resources" jsonschema_description:"CPU and memory. Omitted values keep their defaults."`
	ServiceAccountAnnotations map[string]string    `yaml:"serviceAccountAnnotations" jsonschema_description:"Annotations of the ServiceAccount, for example for a cloud identity."`
	ServiceAccountLabels      map[string]string    `yaml:"serviceAccountLabels" jsonschema_description:"Labels of the ServiceAccount."`
	PodLabels                 map[string]string    `yaml:"podLabels" jsonschema_description:"Labels of the pods."`
	PodAnnotations            map[string]string    `yaml:"podAnnotations" jsonschema_description:"Annotations of the pods."`
	PriorityClassName         string               `yaml:"priorityClassName" jsonschema_description:"PriorityClass of the pods."`
}

// ObjectKey is a key of a Secret or of a ConfigMap in the Project's namespace.
type ObjectKey struct {
	Secret    string `yaml:"secret" jsonschema_description:"Name of the Secret."`
	ConfigMap string `yaml:"configMap" jsonschema_description:"Name of the ConfigMap."`
	Key       string `yaml:"key" jsonschema_description:"Key in the Secret or ConfigMap."`
}

// EnvValue is the value of an environment variable: plain, or a key of an object.
type EnvValue struct {
	Value  string     `yaml:"-"`
	Object *ObjectKey `yaml:"-"`
}

// EnvSource is an object whose keys become environment variables.
type EnvSource struct {
	Secret    string `yaml:"secret" jsonschema_description:"Name of the Secret."`
	ConfigMap string `yaml:"configMap" jsonschema_description:"Name of the ConfigMap."`
}

// Proxy is an HTTP proxy. Requests to the cluster's API server never go through it.
type Proxy struct {
	HTTP    *EnvValue `yaml:"http" jsonschema_description:"URL of the proxy for http. If it contains a password, reference a key of a Secret."`
	HTTPS   *EnvValue `yaml:"https" jsonschema_description:"URL of the proxy for https. If it contains a password, reference a key of a Secret."`
	NoProxy []string  `yaml:"noProxy" jsonschema_description:"Hosts, .domains, addresses and networks to reach without the proxy. The cluster's own are always included."`
}

// Toleration is a taint that pods tolerate.
type Toleration struct {
	Key      string `yaml:"key" jsonschema_description:"Key of the taint; all taints when empty."`
	Operator string `yaml:"operator" jsonschema:"enum=Equal,enum=Exists" jsonschema_description:"How the value is compared. Default Equal."`
	Value    string `yaml:"value" jsonschema_description:"Value of the taint."`
	Effect   string `yaml:"effect" jsonschema:"enum=NoSchedule,enum=PreferNoSchedule,enum=NoExecute" jsonschema_description:"Effect of the taint; all effects when empty."`
	Seconds  *int   `yaml:"tolerationSeconds" jsonschema_description:"NoExecute: how long a pod may stay."`
}

// Resources holds the resource requests and limits of a pod.
type Resources struct {
	Requests Quantities `yaml:"requests" jsonschema_description:"Default 50m CPU and 128Mi memory."`
	Limits   Quantities `yaml:"limits" jsonschema_description:"Default 512Mi memory."`
}

// Quantities holds amounts in Kubernetes notation.
type Quantities struct {
	CPU     string `yaml:"cpu" jsonschema_description:"Such as 500m or 2."`
	Storage string `yaml:"ephemeral-storage" jsonschema_description:"Such as 4Gi."`
	Memory  string `yaml:"memory" jsonschema_description:"Such as 256Mi."`
}

// Defaults of the Jobs.
const (
	DefaultCAKey = "ca.crt"

	defaultCPURequest    = "50m"
	defaultMemoryRequest = "128Mi"
	defaultMemoryLimit   = "512Mi"
)

func (j *Jobs) applyDefaults() {
	if j.CABundle != nil {
		setDefault(&j.CABundle.Key, DefaultCAKey)
	}
	j.Resources.applyDefaults()
}

// applyDefaults also normalises the amounts as the API server does; otherwise Argo CD would show a difference.
func (r *Resources) applyDefaults() {
	setDefault(&r.Requests.CPU, defaultCPURequest)
	setDefault(&r.Requests.Memory, defaultMemoryRequest)
	setDefault(&r.Limits.Memory, defaultMemoryLimit)
	for _, q := range []*string{&r.Requests.CPU, &r.Requests.Memory, &r.Requests.Storage, &r.Limits.CPU, &r.Limits.Memory, &r.Limits.Storage} {
		if parsed, err := resource.ParseQuantity(*q); err == nil {
			*q = parsed.String()
		}
	}
}

// decodeNode accepts a plain value, or a mapping that names a key of a Secret or ConfigMap.
func (e *EnvValue) decodeNode(d *decoder, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.ScalarNode:
		e.Value = n.Value
	case yaml.MappingNode:
		e.Object = &ObjectKey{}
		d.decodeInto(n, e.Object, path)
	default:
		d.add(finding.BadValue, n, path+": want a plain value, not "+describe(n), "reference a key of a Secret as {secret: NAME, key: KEY}")
	}
}

// JSONSchema returns the schema of both forms.
func (EnvValue) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		{Type: "string"}, {Type: "number"}, {Type: "boolean"}, {Ref: "#/$defs/ObjectKey"},
	}}
}

// maxJobTexts is the maximum size of the texts that factory.jobs adds to the Jobs.
const maxJobTexts = 64 << 10

// Reserved prefixes of labels and annotations.
var (
	ownLabels   = []string{"app.kubernetes.io/managed-by", "imagefactory/", "batch.kubernetes.io/", "job-name", "controller-uid"}
	accountKeys = []string{"app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "imagefactory/", "kargo.akuity.io/", "argocd.argoproj.io/"}
	insecureFor = []string{"container.apparmor.security.beta.kubernetes.io/", "seccomp.security.alpha.kubernetes.io/", "container.seccomp.security.alpha.kubernetes.io/"}
)

const syncWave = "argocd.argoproj.io/sync-wave"

func (v *validator) jobs(n *yaml.Node) {
	j := &v.cfg.Factory.Jobs
	const at = "factory.jobs"
	v.jobEnv(child(n, "env"), at+".env", j)
	for i, s := range j.EnvFrom {
		v.oneOf(item(child(n, "envFrom"), i), fmt.Sprintf("%s.envFrom[%d]", at, i), s.Secret, s.ConfigMap)
	}
	v.proxy(child(n, "proxy"), at+".proxy", &j.Proxy)
	v.objectKey(child(n, "caBundle"), at+".caBundle", j.CABundle, true)
	pullSecrets := child(n, "imagePullSecrets")
	for i, name := range j.ImagePullSecrets {
		where := fmt.Sprintf("%s.imagePullSecrets[%d]", at, i)
		v.check(item(pullSecrets, i), where, firstProblem(name, validation.IsDNS1123Subdomain(name)))
		if slices.Index(j.ImagePullSecrets, name) < i {
			v.add(finding.Duplicate, orNode(item(pullSecrets, i), v.root), fmt.Sprintf("%s: duplicate %q", where, name), "")
		}
	}
	v.labels(child(n, "nodeSelector"), at+".nodeSelector", j.NodeSelector, nil)
	v.labels(child(n, "podLabels"), at+".podLabels", j.PodLabels, ownLabels)
	v.labels(child(n, "serviceAccountLabels"), at+".serviceAccountLabels", j.ServiceAccountLabels, accountKeys)
	v.annotations(child(n, "podAnnotations"), at+".podAnnotations", j.PodAnnotations)
	v.annotations(child(n, "serviceAccountAnnotations"), at+".serviceAccountAnnotations", j.ServiceAccountAnnotations)
	for i := range j.Tolerations {
		v.toleration(item(child(n, "tolerations"), i), fmt.Sprintf("%s.tolerations[%d]", at, i), &j.Tolerations[i])
	}
	v.affinity(child(n, "affinity"), at+".affinity", j.Affinity)
	v.resources(child(n, "resources"), at+".resources", j.Resources)
	if j.PriorityClassName != "" {
		v.check(child(n, "priorityClassName"), at+".priorityClassName", firstProblem(j.PriorityClassName, validation.IsDNS1123Subdomain(j.PriorityClassName)))
	}
	if size := textSize(n); size > maxJobTexts {
		v.add(finding.BadValue, orNode(n, v.root), fmt.Sprintf("%s: %d bytes of text; the Jobs can hold at most %d", at, size, maxJobTexts), "put large values into a ConfigMap and reference it in envFrom")
	}
}

// textSize returns the approximate size of a value in bytes, with a few for each key and item.
func textSize(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	const perNode = 20
	size := perNode + len(n.Value)
	for _, c := range n.Content {
		size += textSize(c)
	}
	return size
}

// Variables that other keys of factory.jobs set.
var (
	proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
	caVariables    = []string{"SSL_CERT_DIR", "SSL_CERT_FILE"}
)

func (v *validator) jobEnv(n *yaml.Node, at string, j *Jobs) {
	for _, name := range slices.Sorted(maps.Keys(j.Env)) {
		key, value, where := orNode(keyNode(n, name), n), j.Env[name], at+"."+name
		switch upper := strings.ToUpper(name); {
		case !variableForm().MatchString(name):
			v.check(key, at, fmt.Errorf("invalid variable name %q: want letters, digits and _", name))
		case name == "HOME":
			v.check(key, where, errors.New("reserved: the Jobs set it to /tmp, their only writable folder"))
		case name == "IMAGEFACTORY_CREDENTIALS":
			v.check(key, where, errors.New("reserved: synth mounts the credentials where the Jobs look for them"))
		case name == "GODEBUG" && value != nil && strings.Contains(value.Value, "http2debug"):
			v.check(key, where, errors.New("http2debug would write every token that the Jobs send into their log"))
		case slices.Contains(proxyVariables, upper) && j.Proxy.used():
			v.check(key, where, errors.New("already set by factory.jobs.proxy"))
		case slices.Contains(caVariables, upper) && j.CABundle != nil:
			v.check(key, where, errors.New("already set by factory.jobs.caBundle"))
		case value == nil:
			v.add(finding.Missing, orNode(key, v.root), where+": no value", "give a value, \"\" for an empty one, or {secret: NAME, key: KEY}")
		case value.Object != nil:
			v.objectKey(child(n, name), where, value.Object, false)
		case holdsSecret(name, value.Value), strings.HasSuffix(name, "_HEADERS") && headerSecret().MatchString(value.Value):
			v.check(key, where, errors.New("looks like a secret, which would be readable in git; put it into a Secret and reference it as {secret: NAME, key: KEY}"))
		default:
			v.check(child(n, name), where, plainCharacters(value.Value))
		}
	}
}

func (p *Proxy) used() bool { return p.HTTP != nil || p.HTTPS != nil || len(p.NoProxy) > 0 }

var noProxyForm = lazy.Regexp(`^[A-Za-z0-9.*:/_\[\]-]+$`)

func (v *validator) proxy(n *yaml.Node, at string, p *Proxy) {
	for _, key := range []string{"http", "https"} {
		value := map[string]*EnvValue{"http": p.HTTP, "https": p.HTTPS}[key]
		switch {
		case value == nil:
		case value.Object != nil:
			v.objectKey(child(n, key), at+"."+key, value.Object, false)
		default:
			v.check(child(n, key), at+"."+key, checkProxyURL(value.Value))
		}
	}
	for i, host := range p.NoProxy {
		if !noProxyForm().MatchString(host) {
			v.check(item(child(n, "noProxy"), i), fmt.Sprintf("%s.noProxy[%d]", at, i), fmt.Errorf("invalid host %s: want a host, .domain, address or network", shown(host)))
		}
	}
}

func checkProxyURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil:
		return errors.New("the URL contains credentials; put it into a Secret and reference it as {secret: NAME, key: KEY}")
	case err != nil, !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme), checkHost(u.Host) != nil,
		strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("invalid proxy %s: want a URL such as http://proxy.example.com:3128", shown(s))
	}
	return nil
}

// oneOf checks that either a Secret or a ConfigMap is named.
func (v *validator) oneOf(n *yaml.Node, at, secret, configMap string) {
	switch {
	case secret == "" && configMap == "":
		v.add(finding.Missing, orNode(n, v.root), at+": neither secret nor configMap is set", "set one of them")
	case secret != "" && configMap != "":
		v.add(finding.BadValue, orNode(n, v.root), at+": both secret and configMap are set", "set one of them")
	default:
		name := secret + configMap
		v.check(n, at, firstProblem(name, validation.IsDNS1123Subdomain(name)))
	}
}

func (v *validator) objectKey(n *yaml.Node, at string, o *ObjectKey, hasDefault bool) {
	if o == nil {
		return
	}
	v.oneOf(n, at, o.Secret, o.ConfigMap)
	switch {
	case o.Key != "":
		v.check(orNode(child(n, "key"), n), at+".key", firstProblem(o.Key, validation.IsConfigMapKey(o.Key)))
	case !hasDefault:
		v.add(finding.Missing, orNode(n, v.root), at+": key is missing", `add "key"`)
	}
}

func (v *validator) labels(n *yaml.Node, at string, labels map[string]string, reserved []string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		node := orNode(keyNode(n, key), n)
		v.check(node, at, firstProblem(key, validation.IsQualifiedName(key)))
		v.check(orNode(child(n, key), n), at+"."+key, firstProblem(labels[key], validation.IsValidLabelValue(labels[key])))
		if hasPrefix(key, reserved) {
			v.check(node, at, fmt.Errorf("%q is reserved", key))
		}
	}
}

func (v *validator) annotations(n *yaml.Node, at string, annotations map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		node, value := orNode(keyNode(n, key), n), annotations[key]
		v.check(node, at, firstProblem(key, validation.IsQualifiedName(strings.ToLower(key))))
		v.check(orNode(child(n, key), n), at+"."+key, plainCharacters(value))
		switch {
		case key == syncWave:
			v.check(node, at, fmt.Errorf("%q is reserved", key))
		case hasPrefix(key, insecureFor):
			v.check(node, at, fmt.Errorf("%q would weaken the pod security of the Jobs", key))
		case holdsSecret("", value):
			v.check(node, at+"."+key, errors.New("looks like a secret, which would be readable in git"))
		}
	}
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func (v *validator) toleration(n *yaml.Node, at string, t *Toleration) {
	wrong := func(key, format string, a ...any) {
		v.add(finding.BadValue, orNode(orNode(child(n, key), n), v.root), at+"."+key+": "+fmt.Sprintf(format, a...), "")
	}
	operators, effects := []string{"Equal", "Exists"}, []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}
	if t.Operator != "" && !slices.Contains(operators, t.Operator) {
		wrong("operator", "unknown operator %q: %s", t.Operator, suggest(t.Operator, operators))
	}
	if t.Effect != "" && !slices.Contains(effects, t.Effect) {
		wrong("effect", "unknown effect %q: %s", t.Effect, suggest(t.Effect, effects))
	}
	if t.Key != "" {
		v.check(orNode(child(n, "key"), n), at+".key", firstProblem(t.Key, validation.IsQualifiedName(t.Key)))
	} else if t.Operator != "Exists" {
		wrong("key", "missing (only the operator Exists allows that)")
	}
	if t.Operator == "Exists" && t.Value != "" {
		wrong("value", "not allowed with the operator Exists")
	}
	v.check(orNode(child(n, "value"), n), at+".value", firstProblem(t.Value, validation.IsValidLabelValue(t.Value)))
	if t.Seconds != nil && t.Effect != "NoExecute" {
		wrong("tolerationSeconds", "only for the effect NoExecute")
	}
}

func (v *validator) resources(n *yaml.Node, at string, r Resources) {
	given := r
	r.applyDefaults()
	for _, kind := range []struct {
		name                   string
		request, limit         string
		requestHere, limitHere bool
	}{
		{"cpu", r.Requests.CPU, r.Limits.CPU, given.Requests.CPU != "", given.Limits.CPU != ""},
		{"memory", r.Requests.Memory, r.Limits.Memory, given.Requests.Memory != "", given.Limits.Memory != ""},
		{"ephemeral-storage", r.Requests.Storage, r.Limits.Storage, given.Requests.Storage != "", given.Limits.Storage != ""},
	} {
		requestNode, limitNode := child(child(n, "requests"), kind.name), child(child(n, "limits"), kind.name)
		request, ok := v.quantity(orNode(requestNode, n), at+".requests."+kind.name, kind.request)
		limit, ok2 := v.quantity(orNode(limitNode, n), at+".limits."+kind.name, kind.limit)
		if ok && ok2 && kind.request != "" && kind.limit != "" && request.Cmp(limit) > 0 && (kind.requestHere || kind.limitHere) {
			v.add(finding.BadValue, orNode(orNode(orNode(requestNode, limitNode), n), v.root), fmt.Sprintf("%s: requests.%s %s is more than limits.%s %s",
				at, kind.name, kind.request+byDefault(!kind.requestHere), kind.name, kind.limit+byDefault(!kind.limitHere)), "set both")
		}
	}
}

func byDefault(is bool) string {
	if is {
		return " (the default)"
	}
	return ""
}

func (v *validator) quantity(n *yaml.Node, at, s string) (resource.Quantity, bool) {
	if s == "" {
		return resource.Quantity{}, true
	}
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() < 0 {
		v.check(n, at, fmt.Errorf("invalid amount %s: want one such as 500m or 256Mi", shown(s)))
		return q, false
	}
	return q, true
}

var (
	// secretName matches names of variables that hold secrets; placeName excludes those that only locate one, such as TOKEN_FILE.
	secretName = lazy.Regexp(`(?i)(^|_)(token|password|passwd|secret|apikey|api_key|private_key|access_key|auth_config)(_|$)`)
	placeName  = lazy.Regexp(`(?i)_(file|path|dir|url|name|id|endpoint)$`)
	// headerSecret matches headers that hold secrets, in NAME=VALUE,NAME=VALUE.
	headerSecret = lazy.Regexp(`(?i)(^|,)\s*(authorization|cookie|[\w-]*(api-?key|token|secret))\s*=`)
	// secretForm matches tokens of well-known forms, private keys, credentials of docker, and URLs with a password.
	secretForm = lazy.Regexp(`(?i)gh[opsur]_\w{10}|github_pat_\w|gl[a-z]{2,5}-[\w-]{10}|dckr_(pat|oat)_\w|xox[abprs]-\w|npm_\w{20}|AKIA[0-9A-Z]{12}|` +
		`eyJ[\w-]{10,}\.[\w-]+\.|-----BEGIN [A-Z ]*PRIVATE KEY|"auths"|://[^/?#\s]*:[^/?#\s]*@|[?&](access_|private_)?token=`)
	imageScheme = lazy.Regexp(`\b(docker-image|oci-layout)://`)
)

// holdsSecret reports whether a variable's name or value looks like a secret.
func holdsSecret(name, value string) bool {
	if value == "" {
		return false
	}
	value = imageScheme().ReplaceAllString(value, "$1 ") // NAME:TAG@DIGEST of a named context is not USER:PASSWORD@HOST
	return secretName().MatchString(name) && !placeName().MatchString(name) || secretForm().MatchString(value)
}

// plainCharacters rejects control characters other than newline and tab.
func plainCharacters(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
		return errors.New("contains control characters")
	}
	return nil
}

// firstProblem returns the first problem found by Kubernetes' validation as an error, or nil.
func firstProblem(s string, problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%q: %s", s, problems[0])
}
