package doctor

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/bootstrap"
	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

const (
	kargoAPI = "/apis/kargo.akuity.io/v1alpha1"
	argoAPI  = "/apis/argoproj.io/v1alpha1"
	useOfIt  = "set KUBECONFIG, or run this in the cluster (deploy/doctor-job.yaml)"
)

// cluster returns the probes of the cluster. Without one, the only check reports that.
func (d *doctor) cluster() []probe {
	if d.Cluster == nil {
		return nil
	}
	in, err := d.Cluster()
	if errors.Is(err, cluster.ErrNoCluster) {
		return []probe{{"cluster", func(context.Context) []Check { return []Check{notChecked(useOfIt, "no cluster configured")} }}}
	}
	if err != nil {
		return []probe{{"cluster", func(context.Context) []Check { return []Check{bad("correct the kubeconfig", "%s", err)} }}}
	}
	c := &inCluster{d, in}
	return []probe{
		{"Kargo", c.kargo},
		{"Argo Rollouts", c.rollouts},
		{"namespace " + d.Project, c.namespace},
		{"factory", c.owner},
		{"Argo CD", c.syncs},
		{"Secrets", c.secrets},
		{"permissions", c.permissions},
		{"dist in the cluster", c.applied},
		{"webhook receivers", c.receivers},
		{"auto-promotion", c.holds},
	}
}

// inCluster holds the checks that ask an API server.
type inCluster struct {
	*doctor
	api *cluster.Inspector
}

// unreadable returns the check for an error of the API server.
func unreadable(what string, err error) Check {
	switch {
	case cluster.IsStatus(err, http.StatusForbidden):
		return notChecked("run it with an account that has the permission", "no permission to read %s", what)
	case cluster.IsStatus(err, http.StatusUnauthorized):
		return bad("sign in to the cluster again", "the API server refuses the credential (401)")
	}
	return bad("check the kubeconfig and the network", "reading %s: %s", what, err)
}

// installed checks that an API has resources.
func (c *inCluster) installed(ctx context.Context, path, what, fix string, want ...string) *Check {
	var list struct {
		Resources []struct {
			Name string `json:"name"`
		} `json:"resources"`
	}
	err := c.api.Get(ctx, path, nil, &list)
	if err != nil && !cluster.IsStatus(err, http.StatusNotFound) {
		f := unreadable("the CRDs of "+what, err)
		return &f
	}
	for _, r := range list.Resources {
		want = slices.DeleteFunc(want, func(w string) bool { return w == r.Name })
	}
	if len(want) > 0 {
		f := bad(fix, "CRDs missing: %s", strings.Join(want, ", "))
		return &f
	}
	return nil
}

func (c *inCluster) rollouts(ctx context.Context) []Check {
	if f := c.installed(ctx, argoAPI, "Argo Rollouts", "install Argo Rollouts: Kargo runs the analysis with it", "analysisruns", "analysistemplates"); f != nil {
		return []Check{*f}
	}
	return []Check{ok("AnalysisTemplate and AnalysisRun are installed")}
}

func (c *inCluster) namespace(ctx context.Context) []Check {
	var ns map[string]any
	err := c.api.Get(ctx, "/api/v1/namespaces/"+c.Project, nil, &ns)
	switch {
	case cluster.IsStatus(err, http.StatusNotFound):
		return []Check{bad("kubectl apply -f "+bootstrap.NamespaceFile, "does not exist")}
	case err != nil:
		return []Check{unreadable("the namespace", err)}
	case text(ns, "metadata", "labels", kargo.ProjectLabel) != "true":
		return []Check{bad("kubectl label namespace "+c.Project+" "+kargo.ProjectLabel+"=true", "missing label %s, so Kargo does not treat the namespace as a Project", kargo.ProjectLabel)}
	}
	err = c.api.Get(ctx, kargoAPI+"/projects/"+c.Project, nil, &ns)
	switch {
	case cluster.IsStatus(err, http.StatusNotFound):
		return []Check{bad("have Argo CD apply dist: kubectl apply -k deploy", "the Project %s does not exist", c.Project)}
	case err != nil:
		return []Check{ok("labelled for Kargo"), unreadable("the Project", err)}
	}
	return []Check{ok("labelled for Kargo; the Project exists")}
}

// secrets checks the Secrets that images.yaml names. It compares their values with the placeholder and never prints them. It
// sends the tokens with which Kargo starts builds to their forges.
func (c *inCluster) secrets(ctx context.Context) []Check {
	var out []Check
	for _, want := range kargo.Secrets(c.Config) {
		f := c.secret(ctx, want)
		if f.Result == NotChecked {
			return []Check{f}
		}
		out = append(out, f)
	}
	for _, o := range kargo.JobObjects(c.Config) {
		out = append(out, c.jobObject(ctx, o))
	}
	if len(out) == 0 {
		out = append(out, ok("images.yaml names no Secret"))
	}
	return out
}

// jobObject checks a Secret or ConfigMap that factory.jobs names. The Jobs start without it.
func (c *inCluster) jobObject(ctx context.Context, o kargo.JobObject) Check {
	var have struct {
		Data map[string]any `json:"data"`
	}
	path, what := "secrets", "Secret "+o.Name
	if o.ConfigMap {
		path, what = "configmaps", "ConfigMap "+o.Name
	}
	err := c.api.Get(ctx, "/api/v1/namespaces/"+c.Project+"/"+path+"/"+o.Name, nil, &have)
	switch {
	case cluster.IsStatus(err, http.StatusNotFound):
		return warning("create it, or remove it from images.yaml", "%s of factory.%s is missing: the Jobs run without it", what, o.Use)
	case err != nil:
		return unreadable(what, err)
	case o.Key != "" && have.Data[o.Key] == nil:
		return warning("add the key, or correct images.yaml", "%s of factory.%s has no key %q: the Jobs run without it", what, o.Use, o.Key)
	}
	return ok("%s of factory.%s exists", what, o.Use)
}

func (c *inCluster) secret(ctx context.Context, want kargo.Secret) Check {
	var have struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Data map[string]string `json:"data"`
	}
	err := c.api.Get(ctx, "/api/v1/namespaces/"+c.Project+"/secrets/"+want.Name, nil, &have)
	fill := "create it: " + bootstrap.SecretsFile + " of `imagefactory init --full` has its form"
	switch {
	case want.Kept && (cluster.IsStatus(err, http.StatusNotFound) || err == nil && have.Data[kargo.TokenKey] == ""):
		return bad(fmt.Sprintf("have Argo CD apply dist, then: kubectl create job -n %s --from=cronjob/%s first-token", c.Project, kargo.AppTokenName),
			"%s has an empty token until the CronJob %s writes one", want.Name, kargo.AppTokenName)
	case cluster.IsStatus(err, http.StatusNotFound) && want.Registry != "":
		return warning(fill, "%s is missing: unless other credentials match, Kargo asks %s without a login", want.Name, want.Registry)
	case cluster.IsStatus(err, http.StatusNotFound):
		return bad(fill, "%s is missing", want.Name)
	case err != nil:
		return unreadable("Secrets", err)
	}
	if label := have.Metadata.Labels[kargo.CredTypeLabel]; want.CredType != "" && label != want.CredType {
		return bad(fmt.Sprintf("kubectl label --overwrite secret %s -n %s %s=%s", want.Name, c.Project, kargo.CredTypeLabel, want.CredType),
			"%s lacks the label %s=%s, so Kargo does not read it", want.Name, kargo.CredTypeLabel, want.CredType)
	}
	keys := []string{"repoURL", "username", "password"}
	if want.Registry == "" {
		keys = nil
		for _, u := range want.Keys {
			keys = append(keys, u.Key)
		}
	}
	values := map[string]string{}
	for _, key := range keys {
		value, err := base64.StdEncoding.DecodeString(have.Data[key])
		switch {
		case err != nil || strings.TrimSpace(string(value)) == "":
			return bad("add the key", "%s has no key %q, or it is empty", want.Name, key)
		case strings.Contains(string(value), bootstrap.Placeholder):
			return bad("fill it in", "%s: the key %q still holds the placeholder", want.Name, key)
		}
		values[key] = strings.TrimSpace(string(value))
	}
	for _, u := range want.Keys {
		if u.Kargo && u.Use != kargo.WebhookUse && u.Use != kargo.HeaderUse {
			if f := c.kargoToken(ctx, want.Name, u, values[u.Key]); f.Result != OK && f.Result != NotChecked {
				return f
			}
		}
	}
	return ok("%s has its keys%s", want.Name, map[bool]string{true: " and its label"}[want.CredType != ""])
}

// kargoToken checks the token with which Kargo starts builds.
func (c *inCluster) kargoToken(ctx context.Context, secret string, u kargo.SecretUse, value string) Check {
	c.hide(value)
	if mine, err := c.token(ctx, credentials.API, u.Host); err == nil && mine.Value == value {
		return ok("same token as checked above")
	}
	for _, s := range c.forges() {
		if s.Host == u.Host {
			token := credentials.Token{Value: value, From: "the key " + strconv.Quote(u.Key) + " of " + secret}
			return c.checkToken(ctx, s, token, true, "put it into "+token.From+", and keep the label")
		}
	}
	return ok("no build is started at %s", u.Host)
}

// permissions checks the permissions that the Jobs need. The result is meaningful in a Job only: an administrator has them all.
func (c *inCluster) permissions(ctx context.Context) []Check {
	const group = "kargo.akuity.io"
	wanted := []cluster.Access{
		{Resource: "stages", Verb: "list"}, {Resource: "freights", Verb: "list"}, {Resource: "promotions", Verb: "list"}, {Resource: "promotions", Verb: "create"},
	}
	for _, o := range c.Objects {
		if strings.HasPrefix(o.Name(), kargo.RebuildStage("")) && o.Kind() == "Stage" {
			wanted = append(wanted, cluster.Access{Resource: "stages", Name: o.Name(), Verb: "promote"}) // one stands for all
			break
		}
	}
	var missing []string
	for _, a := range wanted {
		a.Group, a.Namespace = group, c.Project
		may, err := c.api.May(ctx, a)
		if err != nil {
			return []Check{unreadable("its own permissions", err)}
		}
		if !may {
			missing = append(missing, strings.TrimSpace(a.Verb+" "+a.Resource+" "+a.Name))
		}
	}
	if len(missing) > 0 {
		return []Check{bad("apply the Role and RoleBinding of dist, and run this with the ServiceAccount "+kargo.ServiceAccountName, "permissions missing: %s", strings.Join(missing, ", "))}
	}
	return []Check{ok("this account has the permissions that promote needs")}
}

// applied compares the Stages in the cluster with those that synth writes.
func (c *inCluster) applied(ctx context.Context) []Check {
	if c.Objects == nil {
		return []Check{notChecked("correct images.yaml and state first", "the expected Stages are unknown")}
	}
	list, err := c.api.List(ctx, kargoAPI+"/namespaces/"+c.Project+"/stages", "app.kubernetes.io/managed-by=imagefactory")
	if cluster.IsStatus(err, http.StatusNotFound) {
		list, err = nil, nil
	}
	if err != nil {
		return []Check{unreadable("Stages", err)}
	}
	have := map[string]any{}
	for _, o := range list {
		have[text(o, "metadata", "name")] = o["spec"]
	}
	var missing, other []string
	for _, o := range c.Objects {
		if o.Kind() != "Stage" {
			continue
		}
		spec, there := have[o.Name()]
		delete(have, o.Name())
		want, err := specOf(o)
		switch {
		case err != nil:
			return []Check{bad("", "%s", err)}
		case !there:
			missing = append(missing, o.Name())
		case !contains(want, spec):
			other = append(other, o.Name())
		}
	}
	const sync = "commit what `imagefactory synth` writes, and have Argo CD sync it: kubectl get application -A"
	var out []Check
	if len(missing) > 0 {
		out = append(out, bad(sync, "Stages missing: %s", plural.Listed(missing, 5)))
	}
	if len(other) > 0 {
		out = append(out, bad(sync, "Stages out of date: %s", plural.Listed(other, 5)))
	}
	if extra := slices.Sorted(maps.Keys(have)); len(extra) > 0 {
		out = append(out, warning("let Argo CD prune them", "Stages no longer needed: %s", plural.Listed(extra, 5)))
	}
	if out == nil {
		out = append(out, ok("all Stages exist and are up to date"))
	}
	return out
}

// specOf returns the spec of an object as decoded from JSON.
func specOf(o kargo.Object) (any, error) {
	data, err := yamlenc.Marshal(o)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	if err := yaml.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	return out["spec"], nil
}

// contains reports whether have contains everything in want. Additions by webhooks and the API server do not count.
func contains(want, have any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, isMap := have.(map[string]any)
		for key, value := range w {
			if !isMap || !contains(value, h[key]) {
				return false
			}
		}
		return isMap
	case []any:
		h, isList := have.([]any)
		if !isList || len(h) != len(w) {
			return false
		}
		for i := range w {
			if !contains(w[i], h[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(want, have)
}

// text returns a text in an object; "" if there is none.
func text(o map[string]any, path ...string) string {
	for i, key := range path {
		if i == len(path)-1 {
			s, _ := o[key].(string)
			return s
		}
		o, _ = o[key].(map[string]any)
	}
	return ""
}

// host returns the host of a URL.
func host(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}
