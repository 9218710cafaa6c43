package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/fleet"
)

func newCompletion(env *Env) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print the script that completes commands, flags and image names in a shell",
		Example: `  source <(imagefactory completion bash)
  imagefactory completion zsh > "${fpath[1]}/_imagefactory"
  imagefactory completion fish > ~/.config/fish/completions/imagefactory.fish`,
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(env.Out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(env.Out)
			case "fish":
				return cmd.Root().GenFishCompletion(env.Out, true)
			default:
				return cmd.Root().GenPowerShellCompletionWithDesc(env.Out)
			}
		},
	}
}

// newHelp is cobra's help command, where an unknown topic is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: `  imagefactory help synth`,
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, _, err := cmd.Root().Find(args)
			if err != nil {
				return fleet.Usagef("%s", unknownCommand(err))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}
