package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

type appTokenOptions struct {
	project, credentials string
}

func newAppToken(env *Env) *cobra.Command {
	o := &appTokenOptions{}
	cmd := &cobra.Command{
		Use:   kargo.AppTokenName + " HOST=SECRET...",
		Short: "Write a new token of a GitHub App to the Secret that Kargo reads",
		Long: `App-token makes a new token of the GitHub App of each host and writes it to the key "` + kargo.TokenKey + `" of a Secret in the
cluster. The token can start workflows and read their runs, for an hour.

The CronJob of the same name runs it if factory.credentials names an App for a host. The App is read from the files app-id,
installation-id and private-key in the folder of credentials, below api/HOST.`,
		Example: `  imagefactory app-token --project image-factory-kargo github.com=github.com-app-token`,
		Hidden:  true, // for its CronJob
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, secrets []string) error {
			return runAppToken(cmd.Context(), env, o, secrets)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.project, "project", "", "Kargo `project`, the namespace of the Secrets")
	f.StringVar(&o.credentials, "credentials", cmp.Or(env.Getenv("IMAGEFACTORY_CREDENTIALS"), kargo.CredentialsPath),
		"`folder` with the App's files: api/HOST/private-key and others (env IMAGEFACTORY_CREDENTIALS)")
	return cmd
}

func runAppToken(ctx context.Context, env *Env, o *appTokenOptions, secrets []string) error {
	if o.project == "" {
		return fleet.Usagef("app-token needs --project, the namespace of the Secrets")
	}
	places := make([][2]string, len(secrets))
	for i, arg := range secrets {
		host, secret, ok := strings.Cut(arg, "=")
		if !ok || host == "" || secret == "" {
			return fleet.Usagef("%q: want HOST=SECRET, such as github.com=github.com-app-token", arg)
		}
		places[i] = [2]string{host, secret}
	}
	h := httpx.Options{Logger: env.log, Sleep: env.Sleep}
	store := credentials.New(credentials.Options{Dir: o.credentials, Getenv: env.Getenv, HTTP: h})
	client, err := cluster.New(cluster.Options{Namespace: o.project, HTTP: httpx.Options{Logger: env.log}})
	if err != nil {
		return err
	}
	failed := 0
	for _, place := range places { // a failure of one does not keep the others
		host, secret := place[0], place[1]
		token, err := store.WorkflowToken(ctx, host)
		if err == nil {
			err = client.SetSecret(ctx, secret, kargo.TokenKey, token.Value)
		}
		if err != nil {
			failed++
			err = env.errorf("refreshing the token for %s: %s", host, err)
		} else {
			err = env.infof("wrote a new token for %s to Secret %s", host, secret)
		}
		if err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s not refreshed; the next run tries again", failed, plural.Count(len(places), "token"))
	}
	return nil
}
