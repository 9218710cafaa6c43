package kargo

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// CredentialsPath is the folder in the pods that holds credentials as files: USE/HOST/token for the uses git and api,
// registry/HOST/config.json for registries.
const CredentialsPath = "/var/run/imagefactory/credentials"

// Arguments of the AnalysisTemplate.
const (
	subjectArg = "subject"
	tagArg     = "tag"
	digestArg  = "digest"
	bracesArg  = "braces"
)

// analysisTemplate runs `imagefactory analyze` for one image of one piece of Freight.
//
// Kargo never repeats a verification, so the metric does: a Job of up to four pods, every 15 minutes until one succeeded,
// at most 24 times. Six hours outlast a registry's rate limit; without an end, a Stage whose analysis cannot succeed
// would never take its next Freight, because Kargo waits for a verification to end.
func (b *builder) analysisTemplate() *AnalysisTemplate {
	const attempts = 24
	args := []Arg{{Name: subjectArg}, {Name: tagArg}, {Name: digestArg}}
	braces := false
	escape := func(s string) string {
		escaped := templateText(s)
		braces = braces || escaped != s
		return escaped
	}
	command := []string{"analyze", "{{args.subject}}", "--tag={{args.tag}}", "--digest={{args.digest}}"}
	for _, a := range append(b.repositoryArgs(), "--push", "--promote") {
		command = append(command, escape(a))
	}
	job := b.job(command, escape, JobSpec{BackoffLimit: 3, ActiveDeadlineSeconds: 1800, TTLSecondsAfterFinished: 3600})
	if braces {
		args = append(args, Arg{Name: bracesArg, Value: "{{"})
	}
	return &AnalysisTemplate{b.shared(argoAPI, "AnalysisTemplate", AnalysisTemplateName), AnalysisTemplateSpec{
		Args: args,
		Metrics: []Metric{{
			Name: "analyze", Interval: "15m", Count: attempts, ConsecutiveSuccessLimit: 1,
			FailureLimit: attempts - 1, ConsecutiveErrorLimit: attempts - 1,
			Provider: Provider{Job: job},
		}},
	}}
}

const bracesRef = "{{args." + bracesArg + "}}"

// templateText keeps text from being taken for an argument by Argo Rollouts, which substitutes once, and fails on what
// it does not know.
func templateText(s string) string { return strings.ReplaceAll(s, "{{", bracesRef) }

// argument keeps an argument of a container from being expanded by Kubernetes, which replaces $(NAME), and $$ by $.
func argument(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// repositoryArgs say where state and images.yaml are.
func (b *builder) repositoryArgs() []string {
	f := &b.cfg.Factory
	return []string{
		argument("--state-repo=" + b.opts.StateURL),
		argument("--branch=" + f.State.Branch),
		argument("--path=" + b.opts.StatePath),
		argument("--config=" + b.opts.ConfigPath),
		argument("--config-ref=" + f.Config.Ref),
		argument("--project=" + f.Project),
	}
}

// cronJob runs `imagefactory promote`. A run that fails is followed by the next one.
func (b *builder) cronJob() *CronJob {
	schedule, zone := timeZone(b.cfg.Factory.Schedule)
	return &CronJob{b.header("batch/v1", "CronJob", cronJobName), CronJobSpec{
		Schedule: schedule, TimeZone: zone, ConcurrencyPolicy: "Forbid", StartingDeadlineSeconds: 600,
		SuccessfulJobsHistoryLimit: 1, FailedJobsHistoryLimit: 3,
		JobTemplate: b.job(append(append([]string{"promote"}, b.repositoryArgs()...), "--push"), asItIs,
			JobSpec{BackoffLimit: 2, ActiveDeadlineSeconds: 3000, TTLSecondsAfterFinished: 86400}),
	}}
}

// timeZone separates a time zone from a schedule: Kubernetes has its own field for it.
func timeZone(schedule string) (expression, zone string) {
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if rest, ok := strings.CutPrefix(schedule, prefix); ok {
			zone, expression, _ = strings.Cut(rest, " ")
			return strings.TrimSpace(expression), zone
		}
	}
	return schedule, ""
}

// asItIs is the escape of a Job that nothing fills in.
func asItIs(s string) string { return s }

// job completes a JobSpec with a pod that runs imagefactory, with what factory.jobs adds; escape makes texts of it safe. It
// keeps the restricted pod security standard.
func (b *builder) job(args []string, escape func(string) string, spec JobSpec) JobTemplate {
	const user = 65532
	jobs := &b.cfg.Factory.Jobs
	container := Container{
		Name: "imagefactory", Image: b.cfg.Factory.AnalysisImage, Args: args,
		Env: environment(jobs, escape), EnvFrom: envFrom(jobs),
		Resources: Resources{
			Limits:   Quantities(jobs.Resources.Limits),
			Requests: Quantities(jobs.Resources.Requests),
		},
		SecurityContext: ContainerSecurityContext{ReadOnlyRootFilesystem: true, Capabilities: Capabilities{Drop: []string{"ALL"}}},
		VolumeMounts:    []VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
	}
	pod := PodSpec{
		ServiceAccountName: ServiceAccountName, AutomountToken: true, RestartPolicy: "Never",
		SecurityContext: PodSecurityContext{RunAsNonRoot: true, RunAsUser: user, RunAsGroup: user, FSGroup: user, SeccompProfile: SeccompProfile{"RuntimeDefault"}},
		Volumes:         []Volume{{Name: "tmp", EmptyDir: &EmptyDir{SizeLimit: "2Gi"}}},
	}
	mount := func(name, path string, mode int, sources []Projection) {
		if len(sources) > 0 {
			container.VolumeMounts = append(container.VolumeMounts, VolumeMount{Name: name, MountPath: path, ReadOnly: true})
			pod.Volumes = append(pod.Volumes, Volume{Name: name, Projected: &ProjectedVolume{mode, sources}})
		}
	}
	const ownerAndGroupRead, allRead = 0o440, 0o444
	mount("credentials", CredentialsPath, ownerAndGroupRead, b.credentials())
	mount("ca", caPath, allRead, authorities(jobs))
	placed(jobs, &pod)
	pod.Containers = []Container{container}
	labels := map[string]string{managedByLabel: managedBy}
	maps.Copy(labels, jobs.PodLabels)
	spec.Template = PodTemplate{PodMetadata{Labels: labels, Annotations: escaped(jobs.PodAnnotations, escape)}, pod}
	return JobTemplate{TemplateMetadata{Labels{ManagedBy: managedBy}}, spec}
}

// credentials places the keys of all Secrets in one volume. A Secret that is missing leaves its file out instead of
// keeping the pod from starting: what needs it is reported, all else is done.
func (b *builder) credentials() []Projection {
	var out []Projection
	add := func(s *config.SecretKey, path string) {
		if s != nil {
			out = append(out, Projection{Secret: &KeyProjection{Name: s.Secret, Items: []KeyToPath{{s.Key, path}}, Optional: true}})
		}
	}
	for _, host := range slices.Sorted(maps.Keys(b.cfg.Factory.Credentials)) {
		c := b.cfg.Factory.Credentials[host]
		add(c.API, "api/"+host+"/token")
		add(c.Git, "git/"+host+"/token")
		add(c.Registry, "registry/"+host+"/config.json")
	}
	return out
}
