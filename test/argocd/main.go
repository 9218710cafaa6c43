// Command argocd is the application controller and the repo server of Argo CD, built from their module, and the program that git asks
// for the passwords of the repo server.
package main

import (
	"os"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	askpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/spf13/cobra"
)

func main() {
	if os.Getenv("ARGOCD_BINARY_NAME") == "argocd-git-ask-pass" { // the repo server starts git with it
		_ = askpass.NewCommand().Execute() // it ends this process if there is an error
		return
	}
	root := &cobra.Command{Use: "argocd"}
	root.AddCommand(controller.NewCommand(), reposerver.NewCommand())
	if root.Execute() != nil {
		os.Exit(1)
	}
}
