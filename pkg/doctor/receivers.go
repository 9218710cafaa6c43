package doctor

import (
	"context"
	"net/http"

	"github.com/imagefactory/imagefactory/pkg/cluster"
)

// receivers checks that Kargo accepts the webhooks of factory.webhookReceivers. It does not print their URLs: whoever knows one can
// send requests to it.
func (c *inCluster) receivers(ctx context.Context) []Check {
	list := c.Config.Factory.Receivers
	if len(list) == 0 {
		return nil
	}
	var have struct {
		Status struct {
			Receivers []struct {
				Name string `json:"name"`
				URL  string `json:"url"`
			} `json:"webhookReceivers"`
		} `json:"status"`
	}
	err := c.api.Get(ctx, kargoAPI+"/namespaces/"+c.Project+"/projectconfigs/"+c.Project, nil, &have)
	if err != nil && !cluster.IsStatus(err, http.StatusNotFound) {
		return []Check{unreadable("the ProjectConfig", err)}
	}
	urls := map[string]string{}
	for _, r := range have.Status.Receivers {
		urls[r.Name] = r.URL
	}
	var out []Check
	for _, r := range list {
		if urls[r.Name] == "" {
			out = append(out, warning("apply dist, check the Secret "+r.Secret+" and its key "+r.SecretKey().Key+", and enable Kargo's external webhooks server",
				"Kargo has no URL for %s, so pushes are seen at the next poll", r.Name))
			continue
		}
		out = append(out, ok("%s accepts webhooks; its URL: kubectl get projectconfig -n %s %s -o jsonpath='{.status.webhookReceivers}'", r.Name, c.Project, c.Project))
	}
	return out
}
