package kargo

import (
	"maps"
	"slices"
)

// refreshSchedule renews tokens every 20 minutes. They live for an hour, so two runs in a row may fail.
const refreshSchedule = "*/20 * * * *"

// appTokens returns what keeps the tokens of GitHub Apps fresh that Kargo reads, which cannot make any: their Secrets, without data,
// and the CronJob that writes them. Its account may change these Secrets and nothing else. That is independent of promote, because a
// person may promote at any time, and a Promotion that waits for a long build needs a valid token all the time.
func (b *builder) appTokens() []Object {
	started := startedAt(b.cfg)
	hosts := slices.DeleteFunc(slices.Sorted(maps.Keys(b.cfg.Factory.Credentials)), func(host string) bool {
		return b.cfg.Factory.Credentials[host].App == nil || !started[host]
	})
	if len(hosts) == 0 {
		return nil
	}
	var out []Object
	var names []string
	args := []string{AppTokenName, argument("--project=" + b.cfg.Factory.Project)}
	var apps []Projection
	for _, host := range hosts {
		at := appSecret(host)
		secret := &SecretObject{b.shared("v1", "Secret", at.Secret, aboutToken), "Opaque"}
		secret.Metadata.Labels[CredTypeLabel] = genericCredentials
		out, names = append(out, secret), append(names, at.Secret)
		args = append(args, argument(host+"="+at.Secret))
		apps = append(apps, appFiles(host, b.cfg.Factory.Credentials[host].App))
	}
	template := b.job(args, asItIs, JobSpec{BackoffLimit: 3, ActiveDeadlineSeconds: 600, TTLSecondsAfterFinished: 3600})
	pod := &template.Spec.Template.Spec
	pod.ServiceAccountName = AppTokenName
	for i := range pod.Volumes {
		if v := &pod.Volumes[i]; v.Name == "credentials" {
			v.Projected.Sources = apps
		}
	}
	account := &ServiceAccount{Header: b.shared("v1", "ServiceAccount", AppTokenName, aboutRefresh)}
	role := &AccessRole{b.shared(rbacAPI, "Role", AppTokenName, aboutRefresh), []PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: names, Verbs: []string{"patch"}},
	}}
	header := b.header("batch/v1", "CronJob", AppTokenName)
	header.comment = aboutRefresh
	return append(out, account, role, b.binding(AppTokenName, AppTokenName, aboutRefresh), &CronJob{header, CronJobSpec{
		Schedule: refreshSchedule, ConcurrencyPolicy: "Forbid", StartingDeadlineSeconds: 600,
		SuccessfulJobsHistoryLimit: 1, FailedJobsHistoryLimit: 3, JobTemplate: template,
	}})
}
