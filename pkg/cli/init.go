package cli

import (
	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/factory"
)

func newInit(w *World, paths *pathFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Write a first images.yaml and the folders around it",
		Long:    `Init writes images.yaml with comments, the folders of state and dist, and hints into .gitignore. It overwrites nothing.`,
		Example: `  imagefactory init`,
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			written, err := factory.Init(paths.paths())
			for _, file := range written {
				if err := say(w, "wrote %s", file); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			return say(w, "next: imagefactory enroll NAME --repository OWNER/NAME ...")
		},
	}
}
