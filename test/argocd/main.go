// Command argocd is the application controller and the repo server of Argo CD, built from their module without its other commands.
package main

import (
	"os"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/spf13/cobra"
)

func main() {
	root := &cobra.Command{Use: "argocd"}
	root.AddCommand(controller.NewCommand(), reposerver.NewCommand())
	if root.Execute() != nil {
		os.Exit(1)
	}
}
