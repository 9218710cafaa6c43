// Package cluster reads Stages, Promotions and Freight of Kargo through the Kubernetes API, and creates Promotions.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// ErrNoFreight reports that a Warehouse has discovered nothing that could be promoted.
var ErrNoFreight = errors.New("no Freight")

const (
	group       = "kargo.akuity.io"
	version     = "v1alpha1"
	pageSize    = 500
	maxObjects  = 200_000 // of a list
	callTimeout = time.Minute
	attempts    = 4
	maxBody     = 256 << 20 // of a page
)

var (
	stages     = schema.GroupVersionResource{Group: group, Version: version, Resource: "stages"}
	promotions = schema.GroupVersionResource{Group: group, Version: version, Resource: "promotions"}
	freights   = schema.GroupVersionResource{Group: group, Version: version, Resource: "freights"}
)

// Options name the cluster and the namespace.
type Options struct {
	Namespace string // of the Kargo Project
	// Config reaches the API server. Default: the service account of the pod, else the kubeconfig that kubectl uses.
	Config *rest.Config
	// HTTP configures the requests; calls are retried here, since a list that expired begins again.
	HTTP httpx.Options
	// Backoff makes the waits between the attempts of one call. Default exponential.
	Backoff func() backoff.BackOff
}

// Client reads one Project. It lists Freight once, so it serves one pass.
type Client struct {
	namespace string
	api       dynamic.Interface
	secrets   []string // removed from texts of the server
	backoff   func() backoff.BackOff
	freight   map[string][]freight // by Warehouse, newest first; nil before it is read
}

// New returns a Client. It sends no request.
func New(o Options) (*Client, error) {
	if o.Namespace == "" {
		return nil, errors.New("reaching the cluster: no Kargo project (pass --project, or set factory.project)")
	}
	if o.Config == nil {
		var err error
		o.Config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
		if clientcmd.IsEmptyConfig(err) {
			err = ErrNoCluster
		}
		if err != nil {
			return nil, fmt.Errorf("reaching the cluster: %w (run this in the cluster, set KUBECONFIG, or pass --direct to promote without a cluster)", configProblem(err))
		}
	}
	if o.Backoff == nil {
		o.Backoff = func() backoff.BackOff { return backoff.NewExponentialBackOff() }
	}
	config := rest.CopyConfig(o.Config)
	config.QPS, config.Burst, config.Timeout, config.UserAgent = 50, 100, callTimeout, "imagefactory"
	config.WarningHandler = rest.NoWarnings{} // client-go would print them
	config.Wrap(func(base http.RoundTripper) http.RoundTripper { return transport(base, o.HTTP) })
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", configProblem(err))
	}
	return &Client{namespace: o.Namespace, api: api, secrets: []string{config.BearerToken, config.Password}, backoff: o.Backoff}, nil
}

// transport sends each request once and skips no server: there is only one, and a call is retried as a whole. Which server may
// be reached, and how, is the kubeconfig's business.
func transport(base http.RoundTripper, o httpx.Options) http.RoundTripper {
	o.Base, o.Attempts, o.MaxFailures, o.Concurrency = base, 1, -1, -1
	o.Stream, o.MaxBody, o.Timeout = true, maxBody, callTimeout
	o.Insecure = func(string) bool { return true }
	return httpx.New(o)
}

// Project returns the name of the Project, which is also its namespace.
func (c *Client) Project() string { return c.namespace }

// Promotion is a Promotion to a rebuild Stage.
type Promotion struct {
	Name, Stage string
	Rebuild     string // ID of the rebuild; empty if a person promoted
	Phase       string
	Message     string
	RunID       string // at the forge; kargo.UnknownRun if the forge did not return it
	RunURL      string
	Actor       string // who created it, according to Kargo
	Freight     string // name in its spec; may be empty
	Digest      string // of the first image of its Freight, once it runs; see [Client.DigestOf]
	Created     time.Time
}

// Done reports whether the Promotion has ended.
func (p *Promotion) Done() bool {
	return p.Phase == "Succeeded" || p.Phase == "Failed" || p.Phase == "Errored" || p.Phase == "Aborted"
}

// Succeeded reports whether the Promotion has succeeded.
func (p *Promotion) Succeeded() bool { return p.Phase == "Succeeded" }

// Promotions returns the Promotions to rebuild Stages, oldest first.
func (c *Client) Promotions(ctx context.Context) ([]Promotion, error) {
	var out []Promotion
	err := c.list(ctx, promotions, "", func() { out = nil }, func(u *unstructured.Unstructured) {
		if p := promotionOf(u); strings.HasPrefix(p.Stage, kargo.RebuildStage("")) {
			out = append(out, p)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b Promotion) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// promotionOf decodes a Promotion. The outputs of its steps come from a forge, so they are cleaned.
func promotionOf(u *unstructured.Unstructured) Promotion {
	get := func(fields ...string) string {
		s, _, _ := unstructured.NestedString(u.Object, fields...) // a field of another type counts as missing
		return s
	}
	p := Promotion{
		Name: u.GetName(), Stage: get("spec", "stage"), Rebuild: u.GetLabels()[kargo.RebuildLabel],
		Freight: get("spec", "freight"), Phase: get("status", "phase"), Message: text(get("status", "message"), 500),
		Actor: text(u.GetAnnotations()["kargo.akuity.io/create-actor"], 100), Created: u.GetCreationTimestamp().UTC(),
	}
	outputs := []string{"status", "state", kargo.TaskAlias + "::" + kargo.DispatchStep}
	p.RunID = text(get(append(outputs, "run")...), 40)
	if link := text(get(append(outputs, "url")...), 500); isLink(link) {
		p.RunURL = sanitize.URL(link)
	}
	p.Digest = digestOf(u.Object, "status", "freight", "images")
	return p
}

// digestOf returns the digest of the first image in a list of images.
func digestOf(object map[string]any, fields ...string) string {
	images, _, _ := unstructured.NestedSlice(object, fields...)
	if len(images) == 0 {
		return ""
	}
	image, _ := images[0].(map[string]any)
	digest, _ := image["digest"].(string)
	return digest
}

func isLink(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http")
}

// text cleans and bounds untrusted text.
func text(s string, most int, secrets ...string) string {
	return sanitize.Cut(sanitize.Foreign(s, secrets...), most)
}

// problem removes secrets from an error of client-go, which quotes URLs and responses.
func problem(err error, secrets []string) error {
	const most = 500
	status, timeout, request := apierrors.APIStatus(nil), net.Error(nil), (*url.Error)(nil)
	switch {
	case errors.As(err, &status):
		return neterr.As(text(status.Status().Message, most, secrets...), err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return neterr.As("no response from the API server within "+callTimeout.String(), err)
	case errors.As(err, &request):
		return neterr.As("reaching the API server: "+neterr.Inner(err), err)
	}
	return neterr.Clean(err)
}

// configProblem removes secrets from an error of a kubeconfig, which may quote the URL of a proxy.
func configProblem(err error) error { return neterr.As(sanitize.Foreign(err.Error()), err) }

// Stages are the Stages of a Project.
type Stages struct {
	Rebuild map[string]bool // names of the rebuild Stages
	Holds   []Hold
	// Closed are the rebuild Stages whose promotion windows are closed, with when they open and why.
	Closed map[string]string
}

// Hold is an auto-promotion hold of an observe Stage: a person promoted older Freight to it.
type Hold struct {
	Stage     string
	Warehouse string
	Actor     string // who promoted, according to Kargo
}

// Stages returns the rebuild Stages, and the auto-promotion holds of observe Stages.
func (c *Client) Stages(ctx context.Context) (*Stages, error) {
	var out *Stages
	selector := fmt.Sprintf("%s in (%s, %s)", kargo.RoleLabel, kargo.Observe, kargo.Rebuild)
	err := c.list(ctx, stages, selector, func() { out = &Stages{Rebuild: map[string]bool{}, Closed: map[string]string{}} }, func(u *unstructured.Unstructured) {
		if u.GetLabels()[kargo.RoleLabel] == string(kargo.Rebuild) {
			out.Rebuild[u.GetName()] = true
			if why := closedWindow(u); why != "" {
				out.Closed[u.GetName()] = why
			}
			return
		}
		out.Holds = append(out.Holds, holdsOf(u)...)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out.Holds, func(a, b Hold) int {
		return cmp.Or(strings.Compare(a.Stage, b.Stage), strings.Compare(a.Warehouse, b.Warehouse))
	})
	return out, nil
}

// closedWindow returns until when the promotion windows of a Stage are closed, and why, or "". Only Kargo's paid edition
// enforces windows.
func closedWindow(u *unstructured.Unstructured) string {
	status, _, _ := unstructured.NestedMap(u.Object, "status", "promotionWindowStatus") // a field of another type counts as missing
	if closed, _ := status["closed"].(bool); !closed {
		return ""
	}
	next, _ := status["nextOpen"].(string)
	reason, _ := status["reason"].(string)
	out := "Kargo's promotion window is closed"
	if at, err := time.Parse(time.RFC3339, next); err == nil {
		out += " until " + at.UTC().Format("2006-01-02 15:04 MST")
	}
	if reason = text(reason, 500); reason != "" {
		out += ": " + reason
	}
	return out
}

// holdsOf returns the effective auto-promotion holds of a Stage.
func holdsOf(u *unstructured.Unstructured) []Hold {
	holds, _, _ := unstructured.NestedMap(u.Object, "status", "effectiveAutoPromotionHolds") // a field of another type counts as missing
	out := make([]Hold, 0, len(holds))
	for origin, value := range holds {
		hold, _ := value.(map[string]any)
		actor, _ := hold["actor"].(string)
		_, warehouse, _ := strings.Cut(origin, "/")
		out = append(out, Hold{Stage: u.GetName(), Warehouse: text(warehouse, 100), Actor: text(actor, 100)})
	}
	return out
}

// Freight selects Freight by its Warehouse and digest.
type Freight struct {
	Warehouse string
	Digest    string // of its image
}

// PromotionSpec describes the Promotion that starts a rebuild.
type PromotionSpec struct {
	Rebuild string
	Image   string
	Wanted  []Freight // by preference
}

// Create creates the Promotion of a rebuild, unless it exists. It promotes the wanted Freight, or the newest of that Warehouse
// if that is gone. Kargo chooses the name of a Promotion, so a label holds the ID of the rebuild. After any error but
// [ErrNoFreight] the Promotion may exist.
func (c *Client) Create(ctx context.Context, o PromotionSpec) (*Promotion, error) {
	freight, err := c.choose(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/" + version, "kind": "Promotion",
		"metadata": map[string]any{
			"namespace": c.namespace, "name": o.Rebuild, // Kargo chooses another one
			"labels": map[string]any{
				kargo.RebuildLabel: o.Rebuild, kargo.ImageLabel: o.Image, "app.kubernetes.io/managed-by": "imagefactory",
			},
		},
		"spec": map[string]any{"stage": kargo.RebuildStage(o.Image), "freight": freight},
	}}
	var made *unstructured.Unstructured
	err = c.retry(ctx, func(ctx context.Context) error {
		there, err := c.page(ctx, promotions, metav1.ListOptions{LabelSelector: kargo.RebuildLabel + "=" + o.Rebuild})
		if err != nil {
			return err
		}
		if len(there.Items) > 0 {
			made = &there.Items[0]
			return nil
		}
		made, err = c.api.Resource(promotions).Namespace(c.namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return nil, c.explain(err, "creating a Promotion to Stage "+kargo.RebuildStage(o.Image))
	}
	out := promotionOf(made)
	return &out, nil
}

// Ready returns [ErrNoFreight] if no Freight exists for a rebuild.
func (c *Client) Ready(ctx context.Context, o PromotionSpec) error {
	_, err := c.choose(ctx, o)
	return err
}

// freight is the part of Freight that Create needs.
type freight struct {
	name    string
	digest  string
	created time.Time
}

func (c *Client) choose(ctx context.Context, o PromotionSpec) (string, error) {
	if err := c.readFreight(ctx); err != nil {
		return "", err
	}
	var names []string
	for _, w := range o.Wanted {
		for _, f := range c.freight[w.Warehouse] {
			if f.digest == w.Digest {
				return f.name, nil
			}
		}
		names = append(names, w.Warehouse)
	}
	for _, w := range o.Wanted {
		if all := c.freight[w.Warehouse]; len(all) > 0 {
			return all[0].name, nil
		}
	}
	return "", fmt.Errorf("%w of Warehouse %s: nothing discovered yet (see its status in Kargo)", ErrNoFreight, strings.Join(names, " or "))
}

// DigestOf returns the digest of the first image of Freight; empty if there is no such Freight.
func (c *Client) DigestOf(ctx context.Context, name string) (string, error) {
	if err := c.readFreight(ctx); err != nil {
		return "", err
	}
	for _, list := range c.freight {
		for _, f := range list {
			if f.name == name {
				return f.digest, nil
			}
		}
	}
	return "", nil
}

func (c *Client) readFreight(ctx context.Context) error {
	if c.freight != nil {
		return nil
	}
	var all map[string][]freight
	err := c.list(ctx, freights, "", func() { all = map[string][]freight{} }, func(u *unstructured.Unstructured) {
		name, _, _ := unstructured.NestedString(u.Object, "origin", "name") // a field of another type counts as missing
		all[name] = append(all[name], freight{u.GetName(), digestOf(u.Object, "images"), u.GetCreationTimestamp().Time})
	})
	if err != nil {
		return err
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b freight) int { return cmp.Or(b.created.Compare(a.created), strings.Compare(a.name, b.name)) })
	}
	c.freight = all
	return nil
}

// list lists all objects of a kind, page by page, and calls keep with each: all Promotions at once are more than a Job has
// memory for. It calls begin before every attempt.
func (c *Client) list(ctx context.Context, what schema.GroupVersionResource, selector string, begin func(), keep func(*unstructured.Unstructured)) error {
	err := c.retry(ctx, func(ctx context.Context) error {
		begin()
		for next, n := "", 0; ; {
			page, err := c.page(ctx, what, metav1.ListOptions{LabelSelector: selector, Limit: pageSize, Continue: next})
			if err != nil {
				return err
			}
			for i := range page.Items {
				keep(&page.Items[i])
			}
			n += len(page.Items)
			if left := page.GetRemainingItemCount(); page.GetContinue() == "" && left != nil && *left > 0 {
				return neterr.Errorf("incomplete list: %d objects are missing", *left)
			}
			if next = page.GetContinue(); next == "" {
				return nil
			}
			if n > maxObjects {
				return errTooMany
			}
		}
	})
	return c.explain(err, "listing "+what.Resource)
}

// page returns a page of a list. A response of another kind, such as that of a gateway, is an error: an empty list would mean
// that nothing was started.
func (c *Client) page(ctx context.Context, what schema.GroupVersionResource, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list, err := c.api.Resource(what).Namespace(c.namespace).List(ctx, o)
	if err == nil && !strings.HasSuffix(list.GetKind(), "List") {
		return nil, neterr.Errorf("the API server answered with %q instead of a list of %s", text(list.GetKind(), 60), what.Resource)
	}
	return list, err
}

// retry calls do until it returns no temporary error.
func (c *Client) retry(ctx context.Context, call func(context.Context) error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := call(ctx)
		if err != nil && !temporary(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(c.backoff()), backoff.WithMaxTries(attempts))
	return err
}

var errTooMany = neterr.Errorf("more than %d objects (delete old Promotions and Freight)", maxObjects)

// temporary reports whether a retry can help: the server is in trouble, or the connection was.
func temporary(err error) bool {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		code := int(status.Status().Code)
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError || apierrors.IsResourceExpired(err)
	}
	var failed *httpx.Error
	if errors.As(err, &failed) && failed.Skipped() {
		return false
	}
	return !errors.Is(err, errTooMany)
}

// explain adds what to do about an error.
func (c *Client) explain(err error, what string) error {
	if err == nil {
		return nil
	}
	message := problem(err, c.secrets).Error()
	const admission = "an admission check of the cluster refused it; the Role is not the cause"
	var advice string
	switch {
	case apierrors.IsUnauthorized(err):
		advice = "invalid token (run this with the ServiceAccount of dist, or with a kubeconfig that may)"
	case refusedByPolicy(message): // whatever it says
		advice = admission
	case strings.Contains(message, "is not permitted to"), cannot().MatchString(message): // Kargo's webhook; the API server
		advice = "apply the Role and RoleBinding of dist, and run this with their ServiceAccount"
	case strings.Contains(message, "denied the request"), strings.Contains(message, "denied request"), strings.Contains(message, "exceeded quota"):
		advice = admission
	case apierrors.IsForbidden(err) && strings.HasPrefix(what, "listing"): // no admission check is asked about that
		advice = "apply the Role and RoleBinding of dist, and run this with their ServiceAccount"
	case apierrors.IsForbidden(err):
		advice = "a check of the cluster refused it; the Role is hardly the cause"
	case apierrors.IsNotFound(err):
		advice = "is Kargo installed, and does the project exist? Give --project if it is another one"
	case apierrors.IsInvalid(err) && strings.Contains(message, "spec.steps"): // which Kargo's webhook fills in
		advice = "is Kargo's webhook running? It adds the steps of a Promotion"
	case apierrors.IsBadRequest(err) || apierrors.IsInvalid(err):
		advice = "is dist applied as `imagefactory synth` writes it now?"
	}
	if advice != "" {
		message += ": " + advice
	}
	return neterr.As(fmt.Sprintf("%s in project %s: %s", what, c.namespace, message), err)
}

// refusedByPolicy reports whether an admission check other than Kargo's own, which checks the Role, refused the request.
func refusedByPolicy(message string) bool {
	webhook := webhookName().FindStringSubmatch(message)
	return strings.Contains(message, "ValidatingAdmissionPolicy ") || webhook != nil && !strings.HasSuffix(webhook[1], ".kargo.akuity.io")
}

var webhookName = lazy.Regexp(`admission webhook "([^"]*)" denied the request`)

// cannot matches how the API server reports a missing Role.
var cannot = lazy.Regexp(` cannot \S+ resource`)
