package kargo

import "github.com/imagefactory/imagefactory/pkg/config"

// ReceivedRepository is the key in the body of a request to a generic receiver that names the repository of the pushed image.
const ReceivedRepository = "repository"

// receivers returns the webhook receivers of the ProjectConfig. Kargo finds the Warehouses by the repository in the request; a
// generic receiver by the key repository of the body, {"repository": "ghcr.io/acme/app"}.
func receivers(list []config.WebhookReceiver) []WebhookReceiver {
	var out []WebhookReceiver
	for i := range list {
		r := &list[i]
		receiver := &Receiver{SecretRef: ObjectName{r.Secret}, VirtualRepoName: r.VirtualRepoName}
		w := WebhookReceiver{Name: r.Name}
		switch r.Kind {
		case config.ReceiveArtifactory:
			w.Artifactory = receiver
		case config.ReceiveAzure:
			w.Azure = receiver
		case config.ReceiveDockerHub:
			w.DockerHub = receiver
		case config.ReceiveGitHub:
			w.GitHub = receiver
		case config.ReceiveHarbor:
			w.Harbor = receiver
		case config.ReceiveQuay:
			w.Quay = receiver
		case config.ReceiveGeneric:
			w.Generic = receiver
			receiver.Actions = []ReceiverAction{{Action: "Refresh", Targets: []ReceiverTarget{{
				Kind: "Warehouse",
				IndexSelector: IndexSelector{MatchIndices: []IndexRequirement{{
					Key: "subscribedURLs", Operator: "Equal", Value: value("normalizeImage(request.body." + ReceivedRepository + ")"),
				}}},
			}}}}
		}
		out = append(out, w)
	}
	return out
}
