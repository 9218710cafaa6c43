package config

import (
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/imagefactory/imagefactory/pkg/finding"
)

// WebhookReceiver makes Kargo accept the webhooks of a registry, so that it polls a repository as soon as an image is pushed.
type WebhookReceiver struct {
	Name            string       `yaml:"name" jsonschema:"required,minLength=1,maxLength=253" jsonschema_description:"Name of the receiver."`
	Kind            ReceiverKind `yaml:"kind" jsonschema:"required,enum=artifactory,enum=azure,enum=dockerhub,enum=generic,enum=github,enum=harbor,enum=quay" jsonschema_description:"Sender of the webhooks. github: packages on ghcr.io. generic: any sender."`
	Secret          string       `yaml:"secret" jsonschema:"required" jsonschema_description:"Name of the Secret with the shared secret."`
	VirtualRepoName string       `yaml:"virtualRepoName" jsonschema_description:"artifactory: virtual repository in which the pushed images are found."`
}

// ReceiverKind is the sender of webhooks, named as in Kargo.
type ReceiverKind string

// Kinds of receivers.
const (
	ReceiveArtifactory ReceiverKind = "artifactory"
	ReceiveAzure       ReceiverKind = "azure"
	ReceiveDockerHub   ReceiverKind = "dockerhub"
	ReceiveGeneric     ReceiverKind = "generic"
	ReceiveGitHub      ReceiverKind = "github"
	ReceiveHarbor      ReceiverKind = "harbor"
	ReceiveQuay        ReceiverKind = "quay"
)

// secretKeys holds the key that Kargo reads in the Secret of a receiver, by kind.
var secretKeys = map[ReceiverKind]string{
	ReceiveArtifactory: "secret-token", ReceiveAzure: "secret", ReceiveDockerHub: "secret", ReceiveGeneric: "secret",
	ReceiveGitHub: "secret", ReceiveHarbor: "auth-header", ReceiveQuay: "secret",
}

// SecretKey returns the Secret and the key that Kargo reads.
func (r *WebhookReceiver) SecretKey() SecretKey {
	return SecretKey{Secret: r.Secret, Key: secretKeys[r.Kind]}
}

// ofGitOnly are Kargo's kinds of receivers that react to events of git repositories only, which no Warehouse of dist watches.
var ofGitOnly = []ReceiverKind{"bitbucket", "gitea", "gitlab"}

func (v *validator) receivers(n *yaml.Node, list []WebhookReceiver) {
	names := map[string]bool{}
	for i := range list {
		r, n, at := &list[i], item(n, i), fmt.Sprintf("factory.webhookReceivers[%d]", i)
		if n.Kind != yaml.MappingNode {
			continue // reported by the decoder
		}
		for key, value := range map[string]string{"name": r.Name, "kind": string(r.Kind), "secret": r.Secret} {
			if value == "" {
				v.missing(n, key, at+" has no "+key)
			}
		}
		if r.Name != "" {
			v.check(child(n, "name"), at+".name", firstProblem(r.Name, validation.IsDNS1123Subdomain(r.Name)))
		}
		if names[r.Name] {
			v.add(finding.Duplicate, child(n, "name"), fmt.Sprintf("%s.name: duplicate %q", at, r.Name), "")
		}
		names[r.Name] = r.Name != ""
		if r.Secret != "" {
			v.check(child(n, "secret"), at+".secret", firstProblem(r.Secret, validation.IsDNS1123Subdomain(r.Secret)))
		}
		switch _, known := secretKeys[r.Kind]; {
		case slices.Contains(ofGitOnly, r.Kind):
			v.add(finding.BadValue, child(n, "kind"), fmt.Sprintf("%s.kind: in Kargo, %s reacts to pushes to git only, not to pushed images", at, r.Kind),
				"use generic, and let the build send a request to it")
		case r.Kind != "" && !known:
			kinds := slices.Sorted(maps.Keys(secretKeys))
			v.add(finding.BadValue, child(n, "kind"), fmt.Sprintf("%s.kind: unknown kind %q", at, r.Kind), suggest(string(r.Kind), texts(kinds)))
		}
		if r.VirtualRepoName != "" && r.Kind != ReceiveArtifactory {
			v.add(finding.BadValue, keyNode(n, "virtualRepoName"), at+".virtualRepoName: only for the kind artifactory", "")
		}
	}
}

// texts returns values of a text type as strings.
func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}
