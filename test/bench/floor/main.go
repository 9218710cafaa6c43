// Command floor is the lower bound of synth with this YAML parser: it parses the same files with go.yaml.in/yaml/v3 into plain
// structs, and writes the bytes of dist line by line, with nothing in between.
//
//	floor IMAGES_YAML STATE_DIR DIST_FILE OUT_FILE
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

type entry struct {
	Name, Registry, Repository string
	RebuildDelay               string `yaml:"rebuildDelay"`
	Source                     struct {
		Provider, Repo, Branch, Dockerfile, Workflow string
	}
}

type facts struct {
	Name, Repository string
	Dockerfile       struct{ Repo, Path, Digest string }
	BaseImages       []struct {
		Ref  string
		Uses []struct {
			Kind, Stage string
			Line        int
		}
	} `yaml:"baseImages"`
	Registry, Tag string
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want IMAGES_YAML STATE_DIR DIST_FILE OUT_FILE, got %d arguments", len(args))
	}
	var config struct{ Images []entry }
	if err := parse(args[0], &config); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(args[1], "*", "*.yaml"))
	if err != nil {
		return err
	}
	state := make([]facts, len(files))
	for i, file := range files {
		if err := parse(file, &state[i]); err != nil {
			return err
		}
	}
	dist, err := os.Open(args[2])
	if err != nil {
		return err
	}
	defer dist.Close()
	var out bytes.Buffer
	for lines := bufio.NewScanner(dist); lines.Scan(); {
		out.Write(lines.Bytes())
		out.WriteByte('\n')
	}
	return os.WriteFile(args[3], out.Bytes(), 0o600)
}

func parse(file string, v any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(data, v)
}
