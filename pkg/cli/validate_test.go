package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

	withURL = "factory: {state: {url: https://github.com/acme/factory.git}}\nimages:\n"
	web     = "  - {name: web, repository: acme/web, tags: \"1\", source: {provider: github, repo: acme/web, workflow: b.yml, pinBases: true}}\n"
	webHead = "name: web\nrepository: ghcr.io/acme/web\n"
	alpine  = "name: alpine-3-22\nregistry: docker.io\nrepository: library/alpine\ntag: \"3.22\"\n"
)

func using(refs ...string) string {
	var b strings.Builder
	b.WriteString(webHead + "baseImages:\n")
	for _, ref := range refs {
		b.WriteString("- {ref: \"" + ref + "\", uses: [{kind: from, line: 1}]}\n")
	}
	return b.String()
}

// TestEveryRule breaks every rule once: it is reported at its position, and its severity decides the exit code.
func TestEveryRule(t *testing.T) {
	sources := strings.Replace(withURL, "factory: {", "factory: {lint: {newerTags: true, endOfLife: eol.yaml}, ", 1) + web
	tests := map[string]struct {
		files map[string]string
		crds  bool
		at    string // FILE or FILE:LINE:COLUMN, below the fleet's folder
		text  string
	}{
		finding.Syntax.ID:     {map[string]string{"images.yaml": "images: [\n"}, false, "images.yaml:1:9", "invalid YAML"},
		finding.UnknownKey.ID: {map[string]string{"images.yaml": withURL + strings.Replace(web, "workflow", "workflwo", 1)}, false, "images.yaml:3:93", `did you mean "workflow"`},
		finding.BadValue.ID:   {map[string]string{"images.yaml": withURL + strings.Replace(web, `tags: "1"`, "rebuildDelay: soon", 1)}, false, "images.yaml:3:53", `duration "soon"`},
		finding.Missing.ID:    {map[string]string{"images.yaml": withURL + "  - name: web\n"}, false, "images.yaml:3:5", `add "repository"`},
		finding.Duplicate.ID:  {map[string]string{"images.yaml": withURL + web + web}, false, "images.yaml:4:12", "line 3"},
		finding.Cycle.ID:      {map[string]string{"state/images/web.yaml": using("ghcr.io/acme/web:1")}, false, "images.yaml:3:12", `image "web" is built on itself`},
		finding.BadState.ID:   {map[string]string{"state/images/web.yaml": "name: [\n"}, false, "state/images/web.yaml:1:7", "restore the file from git"},
		finding.Orphan.ID:     {map[string]string{"state/images/old.yaml": "name: old\nrepository: ghcr.io/acme/old\n"}, false, "state/images/old.yaml", "no longer enrolled"},
		finding.NoState.ID:    {nil, false, "images.yaml:3:12", "imagefactory analyze web"},
		finding.Unresolved.ID: {map[string]string{"state/images/web.yaml": webHead + "unresolved: [{text: 'node:$V', line: 3, missing: [V]}]\n"}, false, "images.yaml:3:12", "line 3 of the Dockerfile uses node:$V"},
		finding.Budget.ID: {map[string]string{"images.yaml": "factory: {poll: {images: 1m}, state: {url: https://github.com/acme/f.git}}\nimages:\n" +
			"  - {name: web, repository: library/redis, tags: \"8\"}\n"}, false, "images.yaml:1:1", "360 pulls from docker.io in 6 hours"},
		finding.UnlockedWait.ID: {map[string]string{"images.yaml": withURL + strings.Replace(web, ", pinBases: true", "", 1), "state/images/web.yaml": webHead}, false, "images.yaml:3:12", "pinBases"},
		finding.PinnedBase.ID:   {map[string]string{"state/images/web.yaml": using("docker.io/library/alpine:3.22@" + digestA)}, false, "images.yaml:3:12", "pinned by its digest"},
		finding.Unpublished.ID:  {map[string]string{"state/images/web.yaml": using("ghcr.io/acme/web:2")}, false, "images.yaml:3:12", "does not publish this tag"},
		finding.NoTrigger.ID: {map[string]string{"images.yaml": withURL + "  - {name: web, repository: acme/web, source: {provider: git, host: git.example.com, repo: web}}\n",
			"state/images/web.yaml": webHead}, false, "images.yaml:3:12", "plain git server"},
		finding.FloatingTag.ID: {map[string]string{"state/images/web.yaml": using("docker.io/library/alpine:latest")}, false, "images.yaml:3:12", "follows the tag latest"},
		finding.NoStateRepo.ID: {map[string]string{"images.yaml": "images:\n" + web}, false, "images.yaml:1:1", "factory.state.url"},
		finding.CRD.ID: {map[string]string{"crds/warehouse.yaml": warehouseCRD, "state/images/web.yaml": webHead}, true,
			"dist/image-factory.k8s.yaml", "Warehouse/image-web: spec.subscriptions"},
		finding.TagsAssumed.ID: {map[string]string{"images.yaml": withURL + strings.Replace(web, `tags: "1", `, "", 1), "state/images/web.yaml": webHead}, false, "images.yaml:3:12", "semantic versions are assumed: web"},
		finding.DataShape.ID:   {map[string]string{"state/base-images/alpine-3-22.yaml": alpine + "currentDigest: latest\n"}, false, "state/base-images/alpine-3-22.yaml:5:16", `invalid digest "latest"`},
		finding.LeftOut.ID: {map[string]string{"state/images/web.yaml": webHead + "dockerfile: {repo: acme/web, path: app/Dockerfile, digest: \"" + digestA + "\"}\n" +
			"baseImages: [{ref: \"quay.io/odd/a--b:1\", uses: [{kind: copy, line: 7}]}, {ref: \"docker.io/library/alpine:3.22\", uses: [{kind: from, line: 1}]}]\n"},
			false, "images.yaml:3:12", "quay.io/odd/a--b:1 has no Warehouse: Kargo does not support repository names with two dashes in a row; used by web (app/Dockerfile:7)"},
		finding.OldKargo.ID: {map[string]string{"crds/stage.yaml": stageCRD, "state/images/web.yaml": webHead}, true,
			"crds", "does not know `pollInterval` and `errorExpression` of the step http"},
		finding.PassedOver.ID: {map[string]string{"images.yaml": withURL + strings.Replace(web, `tags: "1", `, "", 1),
			"state/images/web.yaml": webHead + "tags: {strategy: SemVer, passedOver: build-9}\ncurrentVersion: 1.0.0\n"}, false,
			"images.yaml:3:12", "strategy SemVer chooses the published tag 1.0.0 and passes over build-9, whose image was built later"},
		finding.NoneCounts.ID: {map[string]string{"state/images/web.yaml": webHead + "uncounted: [1.3.0-alpine, 1.2.3-alpine]\n"}, false,
			"images.yaml:3:12", "none of its published tags counts, such as 1.3.0-alpine, 1.2.3-alpine"},
		finding.Ahead.ID: {map[string]string{"state/images/web.yaml": webHead + "lastBuilt: \"2999-01-02T03:04:05Z\"\n"}, false, "state/images/web.yaml:3:13", "nothing waits for it"},
		finding.UnusedIgnore.ID: {map[string]string{"images.yaml": strings.Replace(withURL, "factory: {", "factory: {lint: {ignore: [IF013]}, ", 1) + web, "state/images/web.yaml": webHead}, false,
			"images.yaml:1:27", "no warning of IF013"},
		finding.Untrusted.ID: {map[string]string{
			"images.yaml":                        strings.Replace(withURL, "factory: {", "factory: {trust: [{match: docker.io, github: acme/base}], ", 1) + web,
			"state/base-images/alpine-3-22.yaml": alpine + "currentDigest: " + digestA + "\nbaseline: {digest: \"" + digestA + "\", firstSeen: \"2026-01-01T00:00:00Z\"}\n",
			"state/images/web.yaml":              webHead + "baseImages: [{ref: \"docker.io/library/alpine:3.22\", uses: [{kind: from, line: 7}]}]\n"},
			false, "state/base-images/alpine-3-22.yaml", "baseline of alpine:3.22 is untrusted: not verified yet (factory.trust requires a provenance by a workflow of github.com/acme/base)"},
		finding.NotAllowed.ID: {map[string]string{"images.yaml": strings.Replace(withURL, "factory: {", "factory: {registries: {allow: [quay.io]}, ", 1) + web,
			"state/images/web.yaml": webHead + "dockerfile: {repo: acme/web, path: app/Dockerfile, digest: \"" + digestA + "\"}\n" +
				"baseImages: [{ref: \"docker.io/library/alpine:3.22\", uses: [{kind: from, line: 7}]}]\n"},
			false, "images.yaml:3:12", "app/Dockerfile:7 uses docker.io/library/alpine:3.22, which is from none of the allowed registries"},
		finding.Unlocked.ID: {map[string]string{".git/config": "[remote \"origin\"]\n\turl = https://github.com/acme/web.git\n",
			".github/workflows/b.yml": "jobs: {build: {steps: [{uses: docker/build-push-action@v7}]}}\n"}, false, "images.yaml:3:12", "b.yml builds without the lock"},
		finding.StoppedTag.ID: {map[string]string{"images.yaml": sources, "state/images/web.yaml": using("docker.io/library/alpine:3.22"),
			"state/base-images/alpine-3-22.yaml": alpine + "lastUpdated: \"2026-01-01T00:00:00Z\"\nnewer: {release: 3.22.1}\n"}, false,
			"state/base-images/alpine-3-22.yaml", "alpine:3.22 has not moved since 2026-01-01, and 3.22.1 is newer in its release line (used by web)"},
		finding.OldLine.ID: {map[string]string{"images.yaml": sources, "state/images/web.yaml": using("docker.io/library/alpine:3.22"),
			"state/base-images/alpine-3-22.yaml": alpine + "newer: {line: \"3.23\"}\n"}, false,
			"state/base-images/alpine-3-22.yaml", "there is a newer release line, 3.23"},
		finding.EndOfLife.ID: {map[string]string{"images.yaml": sources, "state/images/web.yaml": using("docker.io/library/alpine:3.22"),
			"state/base-images/alpine-3-22.yaml": alpine, "eol.yaml": "alpine: [{cycle: 3.22, eol: 2026-03-31}]\n"}, false,
			"state/base-images/alpine-3-22.yaml", "release line 3.22 reaches its end of life on 2026-03-31"},
		finding.StaleIgnore.ID: {map[string]string{
			"images.yaml":                "factory:\n  state: {url: \"https://example.com/f.git\"}\nimages:\n- name: web\n  repository: acme/web\n  urgent:\n    ignore:\n    - {id: CVE-2026-1, package: zlib, until: 2099-01-01, reason: unused}\n    - {id: CVE-2026-2, until: 2099-01-01, reason: unused}\n",
			"state/image-scans/web.yaml": "name: web\ndigests:\n- digest: sha256:" + strings.Repeat("a", 64) + "\n  scanner: trivy\n  severity: high\n  findings:\n  - CVE-2026-1 high zlib 1 - - -\n"}, false,
			"images.yaml:9:7", "urgent.ignore: CVE-2026-2: no scan finds it any more"},
	}
	for _, rule := range finding.Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			tt, ok := tests[rule.ID]
			require.True(t, ok, "no test breaks %s: %s", rule.ID, rule.Text)
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"images.yaml": withURL + web})
			writeFiles(t, dir, tt.files)
			args := []string{"validate", "-o", "json"}
			if tt.crds {
				args = append(args, "--crds", dir+"/crds")
			}
			got := run(t, dir, args...)
			var list struct{ Items finding.List }
			require.NoError(t, json.Unmarshal([]byte(got.out), &list), got.err)
			var found finding.List
			for _, f := range list.Items {
				if f.Rule == rule.ID {
					found = append(found, f)
				}
			}
			require.Len(t, found, 1, got.out)
			found[0].File = strings.TrimPrefix(found[0].File, dir+"/")
			assert.Equal(t, rule.Severity, found[0].Severity)
			line := found[0].String()
			at, _, _ := strings.Cut(line, ": ")
			assert.Equal(t, tt.at, at)
			assert.Contains(t, line, tt.text)

			wantCode := 0
			if list.Items.Err() != nil {
				wantCode = 2
			}
			assert.Equal(t, wantCode, got.code)
			assert.Equal(t, 2, run(t, dir, append(args, "--strict")...).code)
			text := run(t, dir, append(args[:1:1], args[3:]...)...)
			assert.Contains(t, text.out, found[0].Message)
			assert.Contains(t, text.out, "["+rule.ID+"]")
		})
	}
}

const warehouseCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: warehouses.kargo.akuity.io}
spec:
  group: kargo.akuity.io
  scope: Namespaced
  names: {kind: Warehouse, plural: warehouses}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            x-kubernetes-preserve-unknown-fields: true
            properties:
              subscriptions: {type: array, maxItems: 0, items: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// stageCRD is the CRD of Stages before Kargo 1.11.
const stageCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stages.kargo.akuity.io}
spec:
  group: kargo.akuity.io
  scope: Namespaced
  names: {kind: Stage, plural: stages}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties:
              freightHistory: {type: array, items: {type: object}}
`

// TestSARIF parses the log as code hosts do, with texts that need escaping.
func TestSARIF(t *testing.T) {
	dir := t.TempDir() + "/a dir%20#?"
	writeFiles(t, dir, map[string]string{
		"images.yaml":           withURL + web + "  - {name: x, repository: acme/x, \"\\e[31m\\\"}]\\u009b\\r\\n</script>\": 1}\n",
		"state/images/old.yaml": "name: old\n",
	})
	got := run(t, dir, "validate", "-o", "sarif")
	assert.Equal(t, 2, got.code)
	assert.NotContains(t, got.out, "\u001b")
	assert.NotContains(t, got.out, "\u009b")
	var log struct {
		Schema, Version string
		Runs            []struct {
			Tool struct {
				Driver struct {
					Name, InformationURI string
					Rules                []struct {
						ID, HelpURI      string
						ShortDescription struct{ Text string }
					}
				}
			}
			Results []struct {
				RuleID, Level string
				RuleIndex     int
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(strings.Replace(got.out, `"$schema"`, `"schema"`, 1)))
	require.NoError(t, decoder.Decode(&log))
	assert.Equal(t, "2.1.0", log.Version)
	assert.Contains(t, log.Schema, "sarif-2.1.0")
	require.Len(t, log.Runs, 1)
	driver := log.Runs[0].Tool.Driver
	assert.Equal(t, "imagefactory", driver.Name)
	require.Len(t, driver.Rules, len(finding.Rules()))
	require.Len(t, log.Runs[0].Results, 1)
	r := log.Runs[0].Results[0]
	assert.Equal(t, finding.UnknownKey.ID, r.RuleID)
	assert.Equal(t, r.RuleID, driver.Rules[r.RuleIndex].ID)
	assert.Equal(t, "error", r.Level)
	assert.Contains(t, r.Message.Text, "unknown key")
	require.Len(t, r.Locations, 1)
	place := r.Locations[0].PhysicalLocation
	assert.True(t, strings.HasSuffix(place.ArtifactLocation.URI, "/a%20dir%2520%23%3F/images.yaml"), place.ArtifactLocation.URI)
	assert.Equal(t, 4, place.Region.StartLine)
	assert.Equal(t, 35, place.Region.StartColumn)
	for _, rule := range driver.Rules {
		assert.NotEmpty(t, rule.ShortDescription.Text)
		assert.True(t, strings.HasSuffix(rule.HelpURI, "#"+strings.ToLower(rule.ID)))
	}

	// Without findings the list of results is there and empty, or a code host would keep the old ones.
	clean := t.TempDir()
	writeFiles(t, clean, map[string]string{"images.yaml": withURL + "  []\n"})
	assert.Contains(t, run(t, clean, "validate", "-o", "sarif").out, `"results": []`)
}

// TestImpossibleFacts: state is untrusted, because anybody who may push to the repository can change it.
func TestImpossibleFacts(t *testing.T) {
	tests := map[string]struct{ file, text, want string }{
		"reference":      {"state/images/web.yaml", using("A B"), `parsing reference "A B"`},
		"not normalised": {"state/images/web.yaml", using("alpine"), `"alpine" is not normalised: want "docker.io/library/alpine:latest"`},
		"built on":       {"state/images/web.yaml", webHead + "builtOn: [{ref: a, digest: sha256:1, evidence: assumed}]\n", `invalid digest "sha256:1"`},
		"published":      {"state/images/web.yaml", webHead + "published: [{tag: a, digest: \"" + digestA + "\", platforms: {linux/amd64: x}, since: \"2026-01-01T00:00:00Z\"}]\n", `invalid digest "x"`},
		"current":        {"state/images/web.yaml", webHead + "currentDigest: \"" + digestA + "a\"\n", "invalid digest"},
		"rebuild's base": {"state/images/web.yaml", webHead + "rebuild: {id: r-1, status: requested, bases: [{ref: a, digest: $(id)}]}\n", `invalid digest "$(id)"`},
		"rebuild's id":   {"state/images/web.yaml", webHead + "rebuild: {id: $(id), status: requested}\n", `invalid rebuild ID "$(id)"`},
		"name":           {"state/base-images/alpine-3-22.yaml", strings.Replace(alpine, "3.22", "3.21", 1), "belongs in alpine-3-21.yaml"},
		"baseline":       {"state/base-images/alpine-3-22.yaml", alpine + "baseline: {digest: x, firstSeen: \"2026-01-01T00:00:00Z\"}\n", `invalid digest "x"`},
		"candidates":     {"state/base-images/alpine-3-22.yaml", alpine + "candidates: [{digest: \"" + digestA + "\", firstSeen: \"2026-01-01T00:00:00Z\"}, {digest: \"" + digestA + "\", firstSeen: \"2026-01-02T00:00:00Z\"}]\n", "is listed twice"},
		"references":     {"state/images/web.yaml", using("docker.io/library/alpine:3", "docker.io/library/alpine:3"), "is listed twice"},
		"tags":           {"state/images/web.yaml", webHead + "published: [{tag: a}, {tag: a}]\n", `published tag "a" is listed twice`},
		"built on twice": {"state/images/web.yaml", webHead + "builtOn: [{ref: a, evidence: assumed}, {ref: a, evidence: recorded}]\n", "is listed twice"},
		"first seen":     {"state/base-images/alpine-3-22.yaml", alpine + "candidates: [{digest: \"" + digestA + "\"}]\n", "has no firstSeen"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"images.yaml": withURL + web, tt.file: tt.text})
			got := run(t, dir, "validate")
			assert.Equal(t, 2, got.code)
			assert.Contains(t, got.out, tt.file+":")
			assert.Contains(t, got.out, tt.want)
			assert.Contains(t, got.out, "["+finding.DataShape.ID+"]")
		})
	}
}

// With a mirror that Kargo refuses, synth writes nothing: validate reports the mirror, and not the images behind it.
func TestValidateReportsAMirrorThatKargoRefuses(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"images.yaml": "factory: {mirrors: {docker.io: [a--b.example/hub]}, state: {url: https://github.com/acme/f.git}}\nimages:\n" +
			"  - {name: web, repository: library/redis, registry: docker.io, tags: \"8\"}\n",
		"state/images/web.yaml": "name: web\nrepository: docker.io/library/redis\n",
	})
	got := run(t, dir, "validate")
	const cause = `factory.mirrors.docker.io[0]: "a--b.example/hub": Kargo does not support repository names with two dashes in a row (put a mirror first that Kargo can watch)`
	assert.Equal(t, 0, got.code)
	assert.Contains(t, got.out+got.err, "images.yaml:1:1: warning: `synth` writes nothing: "+cause)
	assert.NotContains(t, got.out+got.err, "has no Warehouse")
	got = run(t, dir, "synth")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, cause)
}
