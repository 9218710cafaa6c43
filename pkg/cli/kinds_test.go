package cli_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// kinds are the objects that commands print for programs.
var kinds = map[string]any{
	"StatusList": cli.StatusList{}, "PromoteReport": cli.PromoteReport{}, "AnalyzeReport": cli.AnalyzeReport{}, "ScanReport": cli.ScanReport{}, "AuditReport": cli.AuditReport{},
	"FindingList": cli.FindingList{}, "CheckList": cli.CheckList{}, "Plan": cli.Plan{}, "PlanDiff": cli.PlanDiff{},
	"Discovery": cli.Discovery{}, "Graph": cli.Graph{}, "Lock": cli.Lock{},
	"BaseList": cli.BaseList{}, "ImageDescription": cli.ImageDescription{}, "BaseDescription": cli.BaseDescription{},
	"Version": cli.Version{}, "StateChange": cli.StateChange{}, "FileList": cli.FileList{},
}

const schemaDir = repositoryRoot + "/docs/schemas"

// TestSchemas: docs/schemas holds the schema of every kind; -update writes them.
func TestSchemas(t *testing.T) {
	for kind, value := range kinds {
		r := &jsonschema.Reflector{ExpandedStruct: true, Anonymous: true, Mapper: times, Namer: definitionName}
		s := r.Reflect(value)
		version, found := s.Properties.Get("apiVersion")
		require.True(t, found, kind)
		version.Const = "imagefactory/v1"
		name, _ := s.Properties.Get("kind")
		name.Const = kind
		s.Title = kind + " of imagefactory"
		want, err := json.MarshalIndent(s, "", "  ")
		require.NoError(t, err)
		file := filepath.Join(schemaDir, kind+".json")
		if *update {
			require.NoError(t, os.MkdirAll(schemaDir, 0o750))
			require.NoError(t, os.WriteFile(file, append(want, '\n'), 0o600))
			continue
		}
		have, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, string(want)+"\n", string(have), "run `go test ./pkg/cli -run TestSchemas -update`")
	}
	files, err := os.ReadDir(schemaDir)
	require.NoError(t, err)
	assert.Len(t, files, len(kinds))
}

// times gives the times of state files the schema of time.Time.
func times(t reflect.Type) *jsonschema.Schema {
	if t == reflect.TypeFor[state.Time]() {
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	}
	return nil
}

// definitionName names the types of package describe apart from those of other packages.
func definitionName(t reflect.Type) string {
	if strings.HasSuffix(t.PkgPath(), "/pkg/describe") {
		return "Described" + t.Name()
	}
	return t.Name()
}

// checkObjects checks JSON output of a command against the schemas, and returns the kinds of its objects.
func checkObjects(out string) ([]string, error) {
	var found []string
	for decoder := json.NewDecoder(strings.NewReader(out)); decoder.More(); {
		var object map[string]any
		if err := decoder.Decode(&object); err != nil {
			return nil, err
		}
		kind, _ := object["kind"].(string)
		schema, err := validator.NewCompiler().Compile(filepath.Join(schemaDir, kind+".json"))
		if err != nil {
			return nil, err
		}
		if err := schema.Validate(object); err != nil {
			return nil, err
		}
		found = append(found, kind)
	}
	return found, nil
}

// TestKinds: output for programs has the documented kind and matches its schema, and YAML and JSON agree.
func TestKinds(t *testing.T) {
	t.Parallel()
	fixture := map[string]string{
		"images.yaml":        withURL + "- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: b.yml}}\n- {name: old, repository: acme/old}\n",
		"src/web/Dockerfile": "FROM node:22\n",
		"report.json":        `{"SchemaVersion": 2, "ArtifactName": "node@sha256:` + strings.Repeat("b", 64) + `", "Results": [{"Class": "os-pkgs", "Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1234", "PkgName": "openssl", "Severity": "CRITICAL"}]}]}`,
	}
	facts := map[string]string{ // as if a registry had been asked, and a removed image
		"state/images/gone.yaml":         "name: gone\nrepository: ghcr.io/acme/gone\n",
		"state/base-images/node-22.yaml": "name: node-22\nregistry: docker.io\nrepository: library/node\ntag: \"22\"\ncurrentDigest: sha256:" + strings.Repeat("b", 64) + "\nbaseline:\n  digest: sha256:" + strings.Repeat("a", 64) + "\n  firstSeen: \"2026-01-01T00:00:00Z\"\ncandidates:\n- digest: sha256:" + strings.Repeat("b", 64) + "\n  firstSeen: \"2026-02-27T12:00:00Z\"\n",
	}
	commands := map[string]string{
		"audit": "AuditReport", "status": "StatusList", "status web": "StatusList", "promote --dry-run": "StatusList", "promote --offline --direct": "PromoteReport",
		"analyze --source-dir src --offline web": "AnalyzeReport", "scan --report report.json": "ScanReport", "validate": "FindingList", "doctor --offline": "CheckList",
		"graph": "Graph", "pin web --partial": "Lock", "version": "Version", "prune --dry-run": "StateChange", "synth": "FileList",
		"synth --diff": "FileList", "enroll more --repository acme/more": "FileList",
		"plan": "Plan", "plan --diff HEAD": "PlanDiff", "discover --dir .": "Discovery",
		"hold node:22 --reason bad --dry-run": "StateChange",
		"status --bases":                      "BaseList", "describe web": "ImageDescription", "describe node:22": "BaseDescription",
		"init --full --dry-run": "FileList",
	}
	seen := map[string]bool{}
	for command, kind := range commands {
		outputs := map[string]string{}
		for _, format := range []string{"json", "yaml", "name"} {
			dir := t.TempDir()
			writeFiles(t, dir, fixture)
			args := strings.Fields(strings.NewReplacer("--source-dir src", "--source-dir "+dir+"/src/web", "report.json", dir+"/report.json").Replace(command))
			if command != "analyze --source-dir src --offline web" {
				require.Zero(t, run(t, dir, "analyze", "--source-dir", dir+"/src/web", "--offline").code)
				writeFiles(t, dir, facts)
			}
			if strings.HasPrefix(command, "plan --diff") {
				commitAll(t, dir)
			}
			got := run(t, dir, append(args, "-o", format)...)
			outputs[format] = strings.ReplaceAll(got.out, dir, "DIR")
			require.NotContains(t, got.err, "--help`)", command)
		}
		found, err := checkObjects(outputs["json"])
		require.NoError(t, err, "%s\n%s", command, outputs["json"])
		require.Equal(t, []string{kind}, found, command)
		var fromJSON, fromYAML any
		require.NoError(t, json.Unmarshal([]byte(outputs["json"]), &fromJSON))
		require.NoError(t, yaml.Unmarshal([]byte(outputs["yaml"]), &fromYAML), outputs["yaml"])
		back, err := json.Marshal(fromYAML)
		require.NoError(t, err)
		assert.JSONEq(t, outputs["json"], string(back), command)
		assert.NotContains(t, outputs["name"], "{", command)
		seen[kind] = true
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(kinds)), slices.Collect(maps.Keys(seen)))
}

// commitAll makes a git repository of a folder, with one commit of everything in it.
func commitAll(t *testing.T, dir string) {
	date := "2026-01-01T00:00:00Z" // the same commit each time
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "all"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
}
