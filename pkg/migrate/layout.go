package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Layout holds the paths of the old tool below the migrated folder.
type Layout struct {
	Kind      string // for messages
	Config    string // images.yaml
	images    string // folder of the state of images
	bases     string // folder of the state of base images
	dist      []string
	workflows string // folder of the workflows written by the old tool
}

const (
	oldFolder = "image-factory"
	oldOut    = "image-factory.k8s.yaml"
)

// detect returns the layout of a folder. A separate state repository has the folders of the state files at its root; the other
// layout has them below state/.
func detect(fsys fs.FS) (Layout, error) {
	is := func(name string) bool {
		_, err := fs.Lstat(fsys, name)
		return err == nil
	}
	var l Layout
	switch {
	case is(path.Join(oldFolder, "images.yaml")):
		l = below(oldFolder, "everything under "+oldFolder+"/")
	case !is("images.yaml"):
		return l, errors.New("no images.yaml of the older tool found, neither here nor under " + oldFolder + "/")
	case is("images") || is("base-images"):
		l = Layout{Kind: "a separate state repository", Config: "images.yaml", images: "images", bases: "base-images"}
	default:
		l = below(".", "everything in one folder")
	}
	l.workflows = ".github/workflows"
	for _, dir := range []string{path.Join(path.Dir(l.Config), "dist"), "dist", "cdk8s/" + oldFolder + "/dist"} {
		for _, file := range []string{path.Join(dir, oldOut), path.Join(dir, "cdk8s", oldOut)} {
			if is(file) && (len(l.dist) == 0 || l.dist[len(l.dist)-1] != file) {
				l.dist = append(l.dist, file)
			}
		}
	}
	return l, nil
}

func below(dir, kind string) Layout {
	return Layout{Kind: kind, Config: path.Join(dir, "images.yaml"), images: path.Join(dir, "state/images"), bases: path.Join(dir, "state/base-images")}
}

// readFile reads a regular file of bounded size. Links are not followed.
func readFile(fsys fs.FS, name string, longest int64) ([]byte, error) {
	info, err := fs.Lstat(fsys, name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file; links are not followed")
	case info.Size() > longest:
		return nil, fmt.Errorf("larger than %d KiB", longest>>10)
	}
	return fs.ReadFile(fsys, name)
}

// document is one state file of the old tool.
type document struct {
	file string
	root *yamlNode
	name string
	used bool
}

// folder reads the state files of a folder and reports those that cannot be read.
func (m *migration) folder(dir string) ([]*document, error) {
	if info, err := fs.Lstat(m.fsys, dir); err == nil && !info.IsDir() {
		m.warn(dir, &yamlNode{}, "not a folder, so no state is read from it", "links are not followed; put the folder itself there and migrate again")
		return nil, nil
	}
	entries, err := fs.ReadDir(m.fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading state of the older tool: %w", err)
	}
	const maxBytes = 1 << 20
	var out []*document
	for _, e := range entries {
		file := path.Join(dir, e.Name())
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".yml") {
			m.warn(file, &yamlNode{}, "not carried over: the older tool only read .yaml files", "rename it and migrate again if you need it")
		}
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".yaml") || strings.HasSuffix(e.Name(), ".example.yaml") {
			continue
		}
		const fix = "correct the file and migrate again, or let analyze record it again"
		data, err := readFile(m.fsys, file, maxBytes)
		if err != nil {
			m.warn(file, &yamlNode{}, "not carried over: "+err.Error(), fix)
			continue
		}
		root, line, err := parse(data)
		switch {
		case err != nil:
			m.warn(file, &yamlNode{Line: line, Column: 1}, "not carried over: invalid YAML: "+err.Error(), fix)
		case root == nil:
			m.warn(file, &yamlNode{Line: 1, Column: 1}, "not carried over: the file is empty", fix)
		case root.Kind != mappingNode:
			m.warn(file, root, "not carried over: want a mapping, not "+describe(root), fix)
		default:
			d := &document{file: file, root: root, name: text(get(root, "name"))}
			if d.name == "" {
				d.name = strings.TrimSuffix(e.Name(), ".yaml")
			}
			out = append(out, d)
		}
	}
	return out, nil
}
