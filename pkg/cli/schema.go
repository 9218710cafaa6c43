package cli

import (
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/report"
)

func newSchema(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of images.yaml, for editors",
		Example: `  imagefactory schema > images.schema.json
  # first line of images.yaml:
  # yaml-language-server: $schema=images.schema.json`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return report.JSON(env.Out, config.Schema()) },
	}
}
