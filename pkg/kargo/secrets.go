package kargo

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// CredTypeLabel is the label that marks Secrets with credentials for Kargo.
const CredTypeLabel = kargoGroup + "/cred-type"

// ProjectLabel is the label of a namespace that Kargo may adopt for the Project of the same name.
const ProjectLabel = kargoGroup + "/project"

// Values of CredTypeLabel.
const (
	genericCredentials = "generic" // for expressions, such as those of a PromotionTask
	imageCredentials   = "image"   // for Kargo's own requests to registries
)

// Secret is a Secret in the Project's namespace that an object of dist refers to.
type Secret struct {
	Name     string
	CredType string // value of CredTypeLabel; empty when Kargo does not read it
	Registry string // host of the registry, for imageCredentials
	Kept     bool   // it is part of dist, and a Job writes its value
	Keys     []SecretUse
}

// SecretUse is the purpose of a key of a Secret.
type SecretUse struct {
	Key   string
	Use   string // api, git, registry or app, as in factory.credentials, WebhookUse or NotifyUse
	Host  string // with WebhookUse, the name of the receiver; with NotifyUse, that of the channel
	Kargo bool   // Kargo reads it, to start builds and to follow them
	Jobs  bool   // the Jobs have it as a file
}

// WebhookUse is the use of a Secret with the shared secret of a webhook receiver.
const WebhookUse = "webhook"

// NotifyUse is the use of a Secret with the secret of a channel.
const NotifyUse = "notify"

// HeaderUse is the use of a Secret with the value of a header that starts builds at SecretUse.Host.
const HeaderUse = "header"

// Secrets returns the Secrets of a fleet, by name: those in factory.credentials, the defaults that the PromotionTasks read
// otherwise, Kargo's own credentials for registries, and those of webhook receivers and channels. Users create all that are not Kept.
func Secrets(cfg *config.Config) []Secret {
	byName := map[string]*Secret{}
	add := func(at config.SecretKey, u SecretUse) {
		s := byName[at.Secret]
		if s == nil {
			s = &Secret{Name: at.Secret}
			byName[at.Secret] = s
		}
		if u.Kargo {
			s.CredType = genericCredentials
		}
		u.Key = at.Key
		if !slices.Contains(s.Keys, u) { // images may share the key of a header
			s.Keys = append(s.Keys, u)
		}
	}
	started := startedAt(cfg)
	for _, host := range slices.Sorted(maps.Keys(cfg.Factory.Credentials)) {
		c := cfg.Factory.Credentials[host]
		if c.API != nil {
			add(*c.API, SecretUse{Use: "api", Host: host, Kargo: started[host], Jobs: true})
		}
		if c.Git != nil {
			add(*c.Git, SecretUse{Use: "git", Host: host, Jobs: true})
		}
		if c.App != nil {
			for _, key := range config.AppKeys {
				add(config.SecretKey{Secret: c.App.Secret, Key: key}, SecretUse{Use: "app", Host: host, Jobs: true})
			}
		}
		if c.Registry != nil {
			add(*c.Registry, SecretUse{Use: "registry", Host: host, Jobs: true})
			name := imageSecret(host)
			byName[name] = &Secret{Name: name, CredType: imageCredentials, Registry: host}
		}
	}
	for _, host := range slices.Sorted(maps.Keys(started)) {
		if cfg.Factory.Credentials[host].API == nil {
			at := apiSecret(cfg, host)
			add(at, SecretUse{Use: "api", Host: host, Kargo: true})
			byName[at.Secret].Kept = cfg.Factory.Credentials[host].App != nil
		}
	}
	for i := range cfg.Factory.Receivers {
		r := &cfg.Factory.Receivers[i]
		add(r.SecretKey(), SecretUse{Use: WebhookUse, Host: r.Name, Kargo: true})
	}
	for i := range cfg.Factory.Notify.Channels {
		if c := &cfg.Factory.Notify.Channels[i]; c.Secret != nil {
			add(*c.Secret, SecretUse{Use: NotifyUse, Host: c.Name, Jobs: true})
		}
	}
	for i := range cfg.Images {
		src := cfg.Images[i].Source
		if src == nil || src.Webhook == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(src.Webhook.Headers)) {
			if h := src.Webhook.Headers[name]; h.Secret != nil {
				add(config.SecretKey{Secret: h.Secret.Secret, Key: h.Secret.Key}, SecretUse{Use: HeaderUse, Host: src.BuildHost(), Kargo: true})
			}
		}
	}
	var out []Secret
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[name])
	}
	return out
}

// startedAt returns the hosts on which builds are started.
func startedAt(cfg *config.Config) map[string]bool {
	out := map[string]bool{}
	for i := range cfg.Images {
		if img := &cfg.Images[i]; startable(img) && img.Source.HasAPI() {
			out[img.Source.Host] = true
		}
	}
	return out
}

// imageSecret returns the name of the Secret with Kargo's credentials for a registry.
func imageSecret(host string) string { return "kargo-image-" + hostPart(host) }

// JobObject is a Secret or ConfigMap that factory.jobs or factory.metrics names. The Jobs start even if it is missing.
type JobObject struct {
	ConfigMap bool
	Name      string
	Key       string // empty if all keys are used
	Use       string // key below factory
}

// JobObjects returns the Secrets and ConfigMaps that factory.jobs and factory.metrics name, by use.
func JobObjects(cfg *config.Config) []JobObject {
	jobs := &cfg.Factory.Jobs
	var out []JobObject
	add := func(use string, o *config.ObjectKey) {
		if o != nil {
			out = append(out, JobObject{ConfigMap: o.ConfigMap != "", Name: o.Secret + o.ConfigMap, Key: o.Key, Use: use})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(jobs.Env)) {
		add("jobs.env."+name, jobs.Env[name].Object)
	}
	for use, v := range map[string]*config.EnvValue{"pushgateway": cfg.Factory.Metrics.Pushgateway, "otlp.headers": cfg.Factory.Metrics.OTLP.Headers} {
		if v != nil {
			add("metrics."+use, v.Object)
		}
	}
	for _, s := range jobs.EnvFrom {
		add("jobs.envFrom", &config.ObjectKey{Secret: s.Secret, ConfigMap: s.ConfigMap})
	}
	for use, v := range map[string]*config.EnvValue{"http": jobs.Proxy.HTTP, "https": jobs.Proxy.HTTPS} {
		if v != nil {
			add("jobs.proxy."+use, v.Object)
		}
	}
	add("jobs.caBundle", jobs.CABundle)
	for _, name := range jobs.ImagePullSecrets {
		add("jobs.imagePullSecrets", &config.ObjectKey{Secret: name})
	}
	slices.SortStableFunc(out, func(a, b JobObject) int { return strings.Compare(a.Use, b.Use) })
	return out
}

// DoctorJob is a Job that runs `imagefactory doctor` with the permissions and credentials of the other Jobs. It is not part of
// dist.
func DoctorJob(cfg *config.Config, opts Options) Object {
	b := builder{cfg: cfg, opts: opts}
	t := b.job(append([]string{"doctor"}, b.repositoryArgs()...), asItIs, JobSpec{ActiveDeadlineSeconds: 600, TTLSecondsAfterFinished: 3600})
	return &Job{b.header("batch/v1", "Job", "doctor"), t.Spec}
}
