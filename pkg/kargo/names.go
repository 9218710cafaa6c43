package kargo

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Names of objects that exist once.
const (
	ServiceAccountName   = "image-factory"
	AnalysisTemplateName = "analyze"
	cronJobName          = "promote"
	gitHubTask           = "rebuild-github"
	gitLabTask           = "rebuild-gitlab"
)

// Aliases under which a Promotion keeps the outputs of its steps: the run's id and URL are in the Promotion's
// status.state["rebuild::dispatch"], under the keys run and url. The id is UnknownRun where the forge gave none.
const (
	TaskAlias    = "rebuild"
	DispatchStep = "dispatch"
	runStep      = "run"
	UnknownRun   = "unknown"
)

// BaseWarehouse is the name of the Warehouse that watches a base image.
func BaseWarehouse(base string) string { return "base-" + base }

// ImageWarehouse is the name of the Warehouse that watches an enrolled image.
func ImageWarehouse(image string) string { return "image-" + image }

// RebuildStage is the name of the Stage to which a Promotion rebuilds an image.
func RebuildStage(image string) string { return "rebuild-" + image }

// observeStage is the name of the Stage that has the Freight of a Warehouse analyzed.
func observeStage(warehouse string) string { return "observe-" + warehouse }

// defaultAPISecret names the Secret and key with the token for a host's API where factory.credentials names none:
// github-workflow-token for github.com, else the host (a port after a dash) and -api-token.
func defaultAPISecret(host string) config.SecretKey {
	if host == "github.com" {
		return config.SecretKey{Secret: "github-workflow-token", Key: "token"}
	}
	return config.SecretKey{Secret: hostPart(host) + "-api-token", Key: "token"}
}

// hostPart is a host as part of a name.
func hostPart(host string) string {
	const longest = 200 // a name has at most 253 characters
	name := strings.ReplaceAll(strings.ToLower(host), ":", "-")
	if len(name) > longest {
		sum := sha256.Sum256([]byte(host))
		name = strings.TrimRight(name[:longest], "-.") + "-" + hex.EncodeToString(sum[:])[:10]
	}
	return name
}

// apiSecret names the Secret and key with the token for a host's API.
func apiSecret(cfg *config.Config, host string) config.SecretKey {
	if c := cfg.Factory.Credentials[host]; c.API != nil {
		return *c.API
	}
	return defaultAPISecret(host)
}
