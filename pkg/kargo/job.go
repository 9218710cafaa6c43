package kargo

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// CredentialsPath is the folder in the pods that holds credentials as files: git/HOST/token, api/HOST/token and
// registry/HOST/config.json.
const CredentialsPath = "/var/run/imagefactory/credentials"

// Arguments of the AnalysisTemplate.
const (
	subjectArg = "subject"
	tagArg     = "tag"
	digestArg  = "digest"
	bracesArg  = "braces"
)

// analysisTemplate returns the AnalysisTemplate that runs `imagefactory analyze` for the image of one Freight.
//
// With factory.scan.analysis an init container scans the digest, and `analyze` records the findings together with it.
//
// Kargo never repeats a verification, so the metric does: a Job of up to four pods every 15 minutes until one succeeds, at
// most 24 times. These six hours outlast a registry's rate limit. There must be an end, because Kargo waits for the
// verification: a Stage whose analysis cannot succeed would otherwise never take its next Freight.
func (b *builder) analysisTemplate() *AnalysisTemplate {
	const attempts = 24
	args := []Arg{{Name: subjectArg}, {Name: tagArg}, {Name: digestArg}}
	braces := false
	escape := func(s string) string {
		escaped := templateText(s)
		braces = braces || escaped != s
		return escaped
	}
	event := []string{"{{args.subject}}", "--tag={{args.tag}}", "--digest={{args.digest}}"}
	command := slices.Concat([]string{"analyze"}, event, escapedList(append(b.repositoryArgs(), "--push", "--promote"), escape))
	job := b.job(command, escape, JobSpec{BackoffLimit: 3, ActiveDeadlineSeconds: 1800, TTLSecondsAfterFinished: 3600})
	if b.cfg.Factory.Scan.Analysis {
		b.scanFirst(&job, event, escape)
	}
	if braces {
		args = append(args, Arg{Name: bracesArg, Value: "{{"})
	}
	return &AnalysisTemplate{b.shared(argoAPI, "AnalysisTemplate", AnalysisTemplateName, aboutAnalysis), AnalysisTemplateSpec{
		Args: args,
		Metrics: []Metric{{
			Name: "analyze", Interval: "15m", Count: attempts, ConsecutiveSuccessLimit: 1,
			FailureLimit: attempts - 1, ConsecutiveErrorLimit: attempts - 1,
			Provider: Provider{Job: job},
		}},
	}}
}

const bracesRef = "{{args." + bracesArg + "}}"

// templateText escapes text for Argo Rollouts, which substitutes arguments once and fails on unknown ones.
func templateText(s string) string { return strings.ReplaceAll(s, "{{", bracesRef) }

// argument escapes an argument of a container for Kubernetes, which expands $(NAME) and replaces $$ by $.
func argument(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// repositoryArgs returns the flags that locate state and images.yaml.
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

// cronJob returns the CronJob that runs `imagefactory promote`. A failed run needs no further retries, because the next one
// continues its work.
func (b *builder) cronJob() *CronJob {
	schedule, zone := timeZone(b.cfg.Factory.Schedule)
	header := b.header("batch/v1", "CronJob", PromoteName)
	header.comment = aboutPromote
	return &CronJob{header, CronJobSpec{
		Schedule: schedule, TimeZone: zone, ConcurrencyPolicy: "Forbid", StartingDeadlineSeconds: 600,
		SuccessfulJobsHistoryLimit: 1, FailedJobsHistoryLimit: 3,
		JobTemplate: b.job(append(append([]string{"promote"}, b.repositoryArgs()...), "--push"), asItIs,
			JobSpec{BackoffLimit: 2, ActiveDeadlineSeconds: 3000, TTLSecondsAfterFinished: 86400}),
	}}
}

// programPath is the folder in the pods of a scan that imagefactory is copied to.
const programPath = "/imagefactory"

// scanJob returns the CronJob that runs `imagefactory scan`, or nil if factory.scan names no scanner.
//
// It runs in the scanner's image, into which an init container copies imagefactory: that is a single static file, while images of
// scanners have no shell to copy theirs with.
func (b *builder) scanJob() *CronJob {
	s := &b.cfg.Factory.Scan
	if s.With == "" {
		return nil
	}
	template := b.job(slices.Concat(b.scanArgs(), []string{"--push"}), asItIs, JobSpec{BackoffLimit: 2, ActiveDeadlineSeconds: 6 * 3600, TTLSecondsAfterFinished: 86400})
	pod := &template.Spec.Template.Spec
	pod.AutomountToken = false // it asks registries and the state repository only
	for i := range pod.Volumes {
		if v := &pod.Volumes[i]; v.Name == "tmp" { // the database, and layers while they are unpacked
			v.EmptyDir.SizeLimit = s.Resources.Limits.Storage
		}
	}
	b.useScanner(pod, &pod.Containers[0])
	schedule, zone := timeZone(s.Schedule)
	header := b.header("batch/v1", "CronJob", scanJobName)
	header.comment = aboutScan
	return &CronJob{header, CronJobSpec{
		Schedule: schedule, TimeZone: zone, ConcurrencyPolicy: "Forbid", StartingDeadlineSeconds: 3600,
		SuccessfulJobsHistoryLimit: 1, FailedJobsHistoryLimit: 3, JobTemplate: template,
	}}
}

// scanArgs returns the arguments of `imagefactory scan`.
func (b *builder) scanArgs() []string {
	s := &b.cfg.Factory.Scan
	args := slices.DeleteFunc(b.repositoryArgs(), func(a string) bool { return strings.HasPrefix(a, "--project=") })
	return append([]string{"scan", "--with=" + string(s.With), argument("--program=" + s.Program)}, args...)
}

// useScanner makes a container of a pod run in the scanner's image, and adds the init container that copies imagefactory into it.
func (b *builder) useScanner(pod *PodSpec, c *Container) {
	s := &b.cfg.Factory.Scan
	const programSize = "256Mi"
	pod.Volumes = append(pod.Volumes, Volume{Name: "program", EmptyDir: &EmptyDir{SizeLimit: programSize}})
	program := VolumeMount{Name: "program", MountPath: programPath}
	pod.InitContainers = append(pod.InitContainers, Container{
		Name: "install", Image: c.Image, Args: []string{"version", "--install=" + programPath}, Env: []EnvVar{{Name: "HOME", Value: "/tmp"}},
		Resources: c.Resources, SecurityContext: c.SecurityContext, VolumeMounts: []VolumeMount{program},
	})
	program.ReadOnly = true
	c.Image, c.Command = s.Image, []string{programPath + "/imagefactory"}
	c.Resources = Resources{Limits: Quantities(s.Resources.Limits), Requests: Quantities(s.Resources.Requests)}
	c.VolumeMounts = append(c.VolumeMounts, program)
}

// Folders in the pods of an analysis that scans first.
const (
	reportsPath = "/reports"
	tokenPath   = "/var/run/secrets/kubernetes.io/serviceaccount" // where Kubernetes mounts the token
)

// scanFirst adds the init container to the Job of an analysis that scans its digest and writes the reports for it.
//
// An init container that fails stops its pod, so the command succeeds whatever happens. If the kernel kills it for its memory,
// the pod must survive: it restarts its containers, and the command then sees in its folder that it was killed, and ends.
func (b *builder) scanFirst(job *JobTemplate, event []string, escape func(string) string) {
	const moreTime = 900 // the scan, and pulling the scanner's image
	job.Spec.ActiveDeadlineSeconds += moreTime
	pod := &job.Spec.Template.Spec
	pod.RestartPolicy = "OnFailure"
	main := &pod.Containers[0]
	scan := *main
	scan.Name = "scan"
	scan.Args = slices.Concat(escapedList(b.scanArgs(), escape), event, []string{"--write=" + reportsPath})
	reports := VolumeMount{Name: "reports", MountPath: reportsPath}
	scan.VolumeMounts = append([]VolumeMount{
		{Name: "scanner", MountPath: "/tmp"}, // not shared with the analysis, which trusts its home
		reports,
		{Name: "no-token", MountPath: tokenPath, ReadOnly: true}, // instead of the token: the scanner has no business with the cluster
	}, main.VolumeMounts[1:]...)
	b.useScanner(pod, &scan)
	pod.InitContainers = append(pod.InitContainers, scan)
	size := b.cfg.Factory.Scan.Resources.Limits.Storage
	pod.Volumes = append(pod.Volumes,
		Volume{Name: "scanner", EmptyDir: &EmptyDir{SizeLimit: size}}, Volume{Name: "reports", EmptyDir: &EmptyDir{SizeLimit: size}},
		Volume{Name: "no-token", EmptyDir: &EmptyDir{SizeLimit: "1Mi"}})
	reports.ReadOnly = true
	main.Args = append(main.Args, "--report="+reportsPath)
	main.VolumeMounts = append(main.VolumeMounts, reports)
}

// escapedList returns a copy of texts, each escaped.
func escapedList(texts []string, escape func(string) string) []string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = escape(s)
	}
	return out
}

// timeZone splits the time zone from a schedule, because Kubernetes has a separate field for it.
func timeZone(schedule string) (expression, zone string) {
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if rest, ok := strings.CutPrefix(schedule, prefix); ok {
			zone, expression, _ = strings.Cut(rest, " ")
			return strings.TrimSpace(expression), zone
		}
	}
	return schedule, ""
}

// asItIs is the escape function of a Job that is not a template.
func asItIs(s string) string { return s }

// job adds a pod that runs imagefactory to a JobSpec and applies factory.jobs, with its texts escaped. The pod meets the
// restricted pod security standard.
func (b *builder) job(args []string, escape func(string) string, spec JobSpec) JobTemplate {
	const user = 65532
	jobs := &b.cfg.Factory.Jobs
	container := Container{
		Name: "imagefactory", Image: b.cfg.Factory.AnalysisImage, Args: args,
		Env: environment(&b.cfg.Factory, escape), EnvFrom: envFrom(jobs),
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
	return JobTemplate{TemplateMetadata{Labels{managedByLabel: managedBy}}, spec}
}

// credentials returns the sources of the volume with the keys of all Secrets. All are optional: the pod starts without a missing
// Secret, and only the work that needs it fails.
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
		if c.App != nil {
			out = append(out, appFiles(host, c.App))
		}
	}
	for i := range b.cfg.Factory.Notify.Channels {
		c := &b.cfg.Factory.Notify.Channels[i]
		add(c.Secret, "notify/"+c.Name+"/secret")
	}
	return out
}

// appFiles returns the source of the files of a GitHub App.
func appFiles(host string, app *config.App) Projection {
	p := &KeyProjection{Name: app.Secret, Optional: true}
	for _, key := range config.AppKeys {
		p.Items = append(p.Items, KeyToPath{key, "api/" + host + "/" + key})
	}
	return Projection{Secret: p}
}
