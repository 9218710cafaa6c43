package fleet

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/checkout"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// BuildsWithoutLock reports whether a GitHub workflow builds images and visibly does not use the lock. It returns false if another
// workflow or an action of the repository may do so.
func BuildsWithoutLock(workflow []byte) bool {
	var doc yaml.Node
	if yaml.Unmarshal(workflow, &doc) != nil {
		return false
	}
	builds, locked := false, false
	var walk func(key string, n *yaml.Node)
	walk = func(key string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			local := key == "uses" && (strings.HasPrefix(n.Value, "./") || strings.Contains(n.Value, "/.github/workflows/"))
			locked = locked || local || containsAny(n.Value, lockUses)
			builds = builds || containsAny(n.Value, buildCommands)
		}
		for i, child := range n.Content { // an alias has no content of its own
			key := ""
			if n.Kind == yaml.MappingNode {
				if i%2 == 0 {
					locked = locked || containsAny(child.Value, lockUses) // the name of a variable
					continue
				}
				key = n.Content[i-1].Value
			}
			walk(key, child)
		}
	}
	walk("", &doc)
	return builds && !locked
}

var (
	// lockUses are what a workflow that builds with the lock contains.
	lockUses = []string{"imagefactory/imagefactory/pin@", "imagefactory pin", "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "--source-policy-file"}
	// buildCommands are the actions and commands that build with BuildKit.
	buildCommands = []string{"docker/build-push-action@", "docker/bake-action@", "docker build", "docker buildx b", "buildctl build"}
)

func containsAny(s string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}

// BuiltFrom reports whether the workflow of an image is in the repository at a URL.
func BuiltFrom(img *config.Image, repository string) bool {
	return img.Managed() && hostname.SameRepository(repository, img.Source.Builder().GitURL())
}

// maxWorkflow is the largest workflow file that is read, in bytes.
const maxWorkflow = 1 << 20

// lintWorkflows reports workflows in the repository of images.yaml that build without the lock, though the entry promises it.
func (f *Fleet) lintWorkflows() finding.List {
	co, _, _ := checkout.Find(filepath.Dir(f.Paths.Config)) // another check reports the error
	var l finding.List
	for i := range f.Config.Images {
		img := &f.Config.Images[i]
		if !BuiltFrom(img, co.Origin) || img.Source.Workflow == "" || !img.Source.PinsBases() {
			continue
		}
		if text := workflowIn(co.Root, img.Source); BuildsWithoutLock(text) {
			l = append(l, finding.Unlocked.At(f.Config.File(), img.Line, img.Column, img.Name+": pinBases is set, but "+img.Source.Workflow+" builds without the lock", UseLock(img)).Of(img.Name))
		}
	}
	return l
}

// workflowIn reads the workflow of a source in a checkout: that of the first folder which has it. It is nil if it cannot be read.
func workflowIn(root string, src *config.Source) []byte {
	for _, folder := range src.Provider.WorkflowFolders() {
		if text := readUpTo(filepath.Join(root, filepath.FromSlash(folder), src.Workflow), maxWorkflow); text != nil {
			return text
		}
	}
	return nil
}

// UseLock is the fix for a workflow that builds without the lock.
func UseLock(img *config.Image) string {
	const action = "add the action imagefactory/imagefactory/pin before the build"
	if img.Source.WorkflowRepo != "" { // which `workflow` does not write
		return action
	}
	return action + ", or write the workflow with `imagefactory workflow " + img.Name + "`"
}

// readUpTo returns the first bytes of a file; nil if it cannot be read.
func readUpTo(file string, limit int64) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	return data
}
