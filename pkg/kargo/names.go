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
	scanJobName          = "scan"
	gitHubTask           = "rebuild-github"
	gitLabTask           = "rebuild-gitlab"
	giteaTask            = "rebuild-gitea"
	// PromoteName is the name of the CronJob that runs promote.
	PromoteName = "promote"
	// AppTokenName is the name of the CronJob that renews the tokens of GitHub Apps, of its account and of its Role.
	AppTokenName = "app-token"
)

// Aliases of the steps of a Promotion, under which it keeps their outputs: the ID and the URL of the run are in
// status.state["rebuild::dispatch"], under the keys run and url. The ID is UnknownRun if the forge returned none.
const (
	TaskAlias    = "rebuild"
	DispatchStep = "dispatch"
	runStep      = "run"
	linksStep    = "links"
	UnknownRun   = "unknown"
)

// BaseWarehouse returns the name of the Warehouse that watches a base image.
func BaseWarehouse(base string) string { return "base-" + base }

// ImageWarehouse returns the name of the Warehouse that watches an enrolled image.
func ImageWarehouse(image string) string { return "image-" + image }

// RebuildStage returns the name of the Stage whose Promotions rebuild an image.
func RebuildStage(image string) string { return "rebuild-" + image }

// observeStage returns the name of the Stage whose verification analyzes the Freight of a Warehouse.
func observeStage(warehouse string) string { return "observe-" + warehouse }

// defaultAPISecret returns the Secret and key with the token for a host's API if factory.credentials names none:
// github-workflow-token for github.com, else the host (a port after a dash) and -api-token.
func defaultAPISecret(host string) config.SecretKey {
	if host == "github.com" {
		return config.SecretKey{Secret: "github-workflow-token", Key: "token"}
	}
	return config.SecretKey{Secret: hostPart(host) + "-api-token", Key: "token"}
}

// hostPart returns a host as part of an object's name.
func hostPart(host string) string {
	const longest = 200 // a name has at most 253 characters
	name := strings.ReplaceAll(strings.ToLower(host), ":", "-")
	if len(name) > longest {
		sum := sha256.Sum256([]byte(host))
		name = strings.TrimRight(name[:longest], "-.") + "-" + hex.EncodeToString(sum[:])[:10]
	}
	return name
}

// TokenKey is the key of the token in the Secrets of [builder.appTokens].
const TokenKey = "token"

// appSecret returns the Secret and key in which the token of a host's GitHub App is kept for Kargo.
func appSecret(host string) config.SecretKey {
	return config.SecretKey{Secret: hostPart(host) + "-app-token", Key: TokenKey}
}

// apiSecret returns the Secret and key with the token for a host's API.
func apiSecret(cfg *config.Config, host string) config.SecretKey {
	switch c := cfg.Factory.Credentials[host]; {
	case c.App != nil:
		return appSecret(host)
	case c.API != nil:
		return *c.API
	}
	return defaultAPISecret(host)
}
