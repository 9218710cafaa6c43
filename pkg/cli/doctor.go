package cli

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/doctor"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/report"
)

type doctorOptions struct {
	repoFlags
	project string
	offline bool
	direct  bool
	timeout time.Duration
	output  outputFlag
}

func newDoctor(env *Env, paths *pathFlags) *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check tokens, workflows, registries and the cluster",
		Long: `Doctor checks images.yaml and state, dist, the token for each forge, each workflow or project that builds, the state
repository, each registry, and in the cluster Kargo, Argo Rollouts, the Project, its Secrets, the permissions of the
account, whether the Stages are those of dist, and whether Argo CD or the CronJob was stopped. It lists rebuilds that are
blocked, changes nothing and shows no secret.

It uses the credentials and the kubeconfig of the machine it runs on: yours, those of CI, or in the cluster those of the Jobs
(init --full writes a Job for it). A check that these do not allow is reported as not checked. For a fleet without a
cluster, --direct leaves out dist, the credentials of the Jobs and the cluster. The exit code is 1 if there is an error.`,
		Example: `  imagefactory doctor
  imagefactory doctor --direct                 # without a cluster (init --full --direct)
  imagefactory doctor --offline                # only files
  imagefactory doctor -o json > findings.json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), env, paths, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.direct, "direct", false, "leave out what only Kargo needs: dist, the credentials of the Jobs, the cluster")
	f.BoolVar(&o.offline, "offline", false, "leave out what needs the network")
	f.DurationVar(&o.timeout, "timeout", 20*time.Second, "how long one check may take")
	f.StringVar(&o.project, "project", "", "Kargo `project` and namespace (default factory.project)")
	o.output.add(cmd, "table")
	o.addPlace(env, cmd)
	return cmd
}

func runDoctor(ctx context.Context, env *Env, paths *pathFlags, o *doctorOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	switch {
	case o.timeout <= 0:
		return fleet.Usagef("--timeout is a duration such as 20s")
	case o.offline && o.url != "":
		return fleet.Usagef("--offline and --state-repo exclude each other")
	case o.direct && o.project != "":
		return fleet.Usagef("--direct and --project exclude each other")
	}
	o.once = true
	c := o.clients(env)
	st, closeStore, err := o.open(ctx, c, paths)
	if err != nil {
		return err
	}
	defer closeStore()
	options := doctor.Options{Now: env.Now, Store: st, Branch: o.branch, Offline: o.offline, Direct: o.direct, Timeout: o.timeout, Tools: func(f *fleet.Fleet) doctor.Tools {
		return doctor.Tools{
			Credentials: c.credentials, Registry: c.registry(f), Now: env.Now, HTTP: c.http(),
			Cluster: func() (*cluster.Inspector, error) { return cluster.NewInspector(nil, httpx.Options{Logger: env.log}) },
			Project: cmp.Or(o.project, f.Config.Factory.Project),
		}
	}}
	if o.url == "" {
		local := paths.paths()
		options.Local = &local
	} else {
		options.Location = &kargo.Options{StateURL: o.url, StatePath: cmp.Or(o.path, config.DefaultStateFolder), ConfigPath: paths.config}
	}
	found := doctor.Run(ctx, options)
	if err := c.clock.Check(); err != nil {
		found = append(found, doctor.Check{Name: "clock", Result: doctor.Error, Message: err.Error(), Fix: "correct it: until then analyze and promote record nothing"})
	}
	if err := printDoctor(env, found, &o.output); err != nil {
		return err
	}
	counts := map[doctor.Result]int{}
	for _, f := range found {
		counts[f.Result]++
	}
	err = env.infof("%s, %s, %d ok, %d not checked", plural.Count(counts[doctor.Error], "error"), plural.Count(counts[doctor.Warning], "warning"), counts[doctor.OK], counts[doctor.NotChecked])
	if err == nil && counts[doctor.Error] > 0 {
		err = errReported
	}
	return err
}

func printDoctor(env *Env, found []doctor.Check, output *outputFlag) error {
	if output.forPrograms() {
		return report.Print(env.Out, output.value, CheckList{report.NewMeta("CheckList"), found})
	}
	var rows [][]string
	for _, f := range found {
		rows = append(rows, []string{f.Name, string(f.Result), f.Message})
		if f.Fix != "" {
			rows = append(rows, []string{"", "", "fix: " + f.Fix})
		}
	}
	style := env.style(false)
	style.Wrap = true
	return style.Table(env.Out, []string{"CHECK", "RESULT", "MESSAGE AND FIX"}, rows)
}
