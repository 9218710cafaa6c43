// Package cluster is what promoting asks of Kargo, through the Kubernetes API: which Stages there are, what became of
// Promotions, and to create one.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
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

	"github.com/imagefactory/imagefactory/pkg/internal/clock"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// ErrNoFreight says that a Warehouse has found nothing that a Promotion could carry.
var ErrNoFreight = errors.New("there is no Freight")

const (
	group       = "kargo.akuity.io"
	version     = "v1alpha1"
	pageSize    = 500
	maxObjects  = 200_000 // of a list
	callTimeout = time.Minute
	tries       = 4
)

var (
	stages     = schema.GroupVersionResource{Group: group, Version: version, Resource: "stages"}
	promotions = schema.GroupVersionResource{Group: group, Version: version, Resource: "promotions"}
	freights   = schema.GroupVersionResource{Group: group, Version: version, Resource: "freights"}
)

// Options say which cluster and namespace.
type Options struct {
	Namespace string // which is the Kargo Project's
	// Config reaches the API server. Default: the service account of the pod, or else the kubeconfig, as kubectl has it.
	Config *rest.Config
	// Sleep waits before asking again. For tests.
	Sleep func(context.Context, time.Duration) error
}

// Client asks one Project. It reads each list once, so it serves one pass.
type Client struct {
	namespace string
	api       dynamic.Interface
	secrets   []string // that must not be shown when the server repeats them
	sleep     func(context.Context, time.Duration) error
	freight   map[string][]freight // by Warehouse, newest first; nil before it is read
}

// New makes a Client. Nothing is asked yet.
func New(o Options) (*Client, error) {
	if o.Namespace == "" {
		return nil, errors.New("reaching the cluster: no Kargo project is named: give --project, or set factory.project")
	}
	if o.Config == nil {
		var err error
		o.Config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("reaching the cluster: %w: run this in the cluster, set KUBECONFIG, or give --direct to do without a cluster", configProblem(err))
		}
	}
	if o.Sleep == nil {
		o.Sleep = clock.Sleep
	}
	config := rest.CopyConfig(o.Config)
	config.QPS, config.Burst, config.Timeout, config.UserAgent = 50, 100, callTimeout, "imagefactory"
	config.WarningHandler = rest.NoWarnings{} // they would be logged
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", configProblem(err))
	}
	return &Client{namespace: o.Namespace, api: api, secrets: []string{config.BearerToken, config.Password}, sleep: o.Sleep}, nil
}

// Project returns the name of the Project, which is that of its namespace.
func (c *Client) Project() string { return c.namespace }

// Promotion is a Promotion to one of our rebuild Stages.
type Promotion struct {
	Name, Stage string
	Rebuild     string // whose it is; empty when a person made it
	Phase       string
	Message     string
	RunID       string // at the forge; kargo.UnknownRun when the forge did not give it
	RunURL      string
	Actor       string // who created it, as Kargo notes it
	Freight     string // that it carries, as far as its spec says
	Digest      string // of the image that its Freight is for, as soon as it runs; see DigestOf
	Created     time.Time
}

// Done says whether the Promotion is over, well or badly.
func (p *Promotion) Done() bool {
	return p.Phase == "Succeeded" || p.Phase == "Failed" || p.Phase == "Errored" || p.Phase == "Aborted"
}

// Succeeded says whether the Promotion is over and went well.
func (p *Promotion) Succeeded() bool { return p.Phase == "Succeeded" }

// Promotions lists the Promotions to rebuild Stages, oldest first.
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

// promotionOf reads a Promotion. What its steps wrote comes from a forge.
func promotionOf(u *unstructured.Unstructured) Promotion {
	get := func(fields ...string) string {
		s, _, _ := unstructured.NestedString(u.Object, fields...) // another type is as if it were not there
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

// text bounds and cleans what somebody else wrote.
func text(s string, most int, secrets ...string) string {
	return sanitize.Cut(sanitize.Foreign(s, secrets...), most)
}

// problem is an error of client-go that holds no secret: it quotes URLs, and what the server wrote.
func problem(err error, secrets []string) error {
	const most = 500
	status, timeout, request := apierrors.APIStatus(nil), net.Error(nil), (*url.Error)(nil)
	switch {
	case errors.As(err, &status):
		return neterr.As(text(status.Status().Message, most, secrets...), err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return neterr.As("the API server gave no answer within "+callTimeout.String(), err)
	case errors.As(err, &request):
		return neterr.As("asking the API server: "+neterr.Inner(err), err)
	}
	return neterr.Clean(err)
}

// configProblem is an error of a kubeconfig. It may quote the URL of a proxy.
func configProblem(err error) error { return neterr.As(sanitize.Foreign(err.Error()), err) }

// Stages are the Stages of a Project.
type Stages struct {
	Rebuild map[string]bool // names of the rebuild Stages
	Holds   []Hold
}

// Hold keeps an observe Stage from taking new Freight: a person promoted older Freight to it.
type Hold struct {
	Stage     string
	Warehouse string
	Actor     string // who promoted, as Kargo notes it
}

// Stages lists the rebuild Stages, and what holds observe Stages back.
func (c *Client) Stages(ctx context.Context) (*Stages, error) {
	var out *Stages
	selector := fmt.Sprintf("%s in (%s, %s)", kargo.RoleLabel, kargo.Observe, kargo.Rebuild)
	err := c.list(ctx, stages, selector, func() { out = &Stages{Rebuild: map[string]bool{}} }, func(u *unstructured.Unstructured) {
		if u.GetLabels()[kargo.RoleLabel] == string(kargo.Rebuild) {
			out.Rebuild[u.GetName()] = true
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

// holdsOf reads the holds that are in effect on the auto-promotion of a Stage.
func holdsOf(u *unstructured.Unstructured) []Hold {
	holds, _, _ := unstructured.NestedMap(u.Object, "status", "effectiveAutoPromotionHolds") // another type is as if it were not there
	out := make([]Hold, 0, len(holds))
	for origin, value := range holds {
		hold, _ := value.(map[string]any)
		actor, _ := hold["actor"].(string)
		_, warehouse, _ := strings.Cut(origin, "/")
		out = append(out, Hold{Stage: u.GetName(), Warehouse: text(warehouse, 100), Actor: text(actor, 100)})
	}
	return out
}

// Freight names what a Promotion is to carry.
type Freight struct {
	Warehouse string
	Digest    string // of its image
}

// Order is a rebuild that is to be started.
type Order struct {
	Rebuild string
	Image   string
	Wanted  []Freight // by preference
}

// Create creates the Promotion of a rebuild, unless there is one already. It carries the Freight that is wanted, or when
// that is gone the newest of that Warehouse. Kargo names Promotions itself, so a label says which rebuild's it is. Any
// error but ErrNoFreight leaves open whether it was created.
func (c *Client) Create(ctx context.Context, o Order) (*Promotion, error) {
	freight, err := c.choose(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/" + version, "kind": "Promotion",
		"metadata": map[string]any{
			"namespace": c.namespace, "name": o.Rebuild, // Kargo gives another one
			"labels": map[string]any{
				kargo.RebuildLabel: o.Rebuild, kargo.ImageLabel: o.Image, "app.kubernetes.io/managed-by": "imagefactory",
			},
		},
		"spec": map[string]any{"stage": kargo.RebuildStage(o.Image), "freight": freight},
	}}
	var made *unstructured.Unstructured
	err = c.try(ctx, func(ctx context.Context) error {
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

// Ready says whether there is Freight for a rebuild: ErrNoFreight when there is none.
func (c *Client) Ready(ctx context.Context, o Order) error {
	_, err := c.choose(ctx, o)
	return err
}

// freight is what Create needs to know of Freight.
type freight struct {
	name    string
	digest  string
	created time.Time
}

func (c *Client) choose(ctx context.Context, o Order) (string, error) {
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
	return "", fmt.Errorf("%w of Warehouse %s: it has found nothing yet, or cannot: look at its status in Kargo", ErrNoFreight, strings.Join(names, " or "))
}

// DigestOf returns the digest of the image that Freight is for; empty when there is no such Freight.
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
		name, _, _ := unstructured.NestedString(u.Object, "origin", "name") // another type is as if it were not there
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

// list reads all objects of a kind, page by page, and gives each to keep: Kargo keeps many Promotions of each Stage, and
// all of them at once are more than a Job has memory for. When it must begin again, it says so first.
func (c *Client) list(ctx context.Context, what schema.GroupVersionResource, selector string, begin func(), keep func(*unstructured.Unstructured)) error {
	err := c.try(ctx, func(ctx context.Context) error {
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
				return neterr.Errorf("the list ended %d objects too early", *left)
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

// page reads a part of a list. An answer that is none, such as that of a gateway, is an error: an empty list would say that
// nothing was started.
func (c *Client) page(ctx context.Context, what schema.GroupVersionResource, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list, err := c.api.Resource(what).Namespace(c.namespace).List(ctx, o)
	if err == nil && !strings.HasSuffix(list.GetKind(), "List") {
		return nil, neterr.Errorf("the API server answered with %q instead of a list of %s", text(list.GetKind(), 60), what.Resource)
	}
	return list, err
}

// try calls until it succeeds, or fails for good.
func (c *Client) try(ctx context.Context, call func(context.Context) error) error {
	pause := backoff.NewExponentialBackOff()
	for n := 1; ; n++ {
		err := call(ctx)
		if err == nil || n >= tries || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		if c.sleep(ctx, pause.NextBackOff()) != nil {
			return err
		}
	}
}

var errTooMany = neterr.Errorf("there are more than the %d objects that are read; delete old Promotions and Freight", maxObjects)

// mayPass says whether an error can be another one the next time: the server is in trouble, or the connection was.
func mayPass(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return !errors.Is(err, errTooMany)
	}
	code := status.Status().Code
	return code == 429 || code >= 500 || apierrors.IsResourceExpired(err)
}

// explain says what to do about an error.
func (c *Client) explain(err error, what string) error {
	if err == nil {
		return nil
	}
	message := problem(err, c.secrets).Error()
	const admission = "an admission check of the cluster refused it; the Role is not the cause"
	var advice string
	switch {
	case apierrors.IsUnauthorized(err):
		advice = "the token is not valid: run this with the ServiceAccount of dist, or with a kubeconfig that may"
	case refusedByPolicy(message): // whatever it says
		advice = admission
	case strings.Contains(message, "is not permitted to"), cannot.MatchString(message): // Kargo's webhook; the API server
		advice = "apply the Role and RoleBinding of dist, and run this with their ServiceAccount"
	case strings.Contains(message, "denied the request"), strings.Contains(message, "denied request"), strings.Contains(message, "exceeded quota"):
		advice = admission
	case apierrors.IsForbidden(err) && strings.HasPrefix(what, "listing"): // no admission check is asked about that
		advice = "apply the Role and RoleBinding of dist, and run this with their ServiceAccount"
	case apierrors.IsForbidden(err):
		advice = "a check of the cluster refused it; the Role is hardly the cause"
	case apierrors.IsNotFound(err):
		advice = "is Kargo installed, and does the project exist? Give --project if it is another one"
	case apierrors.IsBadRequest(err) || apierrors.IsInvalid(err):
		advice = "is dist applied as `imagefactory synth` writes it now?"
	}
	if advice != "" {
		message += ": " + advice
	}
	return neterr.As(fmt.Sprintf("%s in project %s: %s", what, c.namespace, message), err)
}

// refusedByPolicy reports whether an admission check refused that is not Kargo's own, which asks for the Role.
func refusedByPolicy(message string) bool {
	webhook := webhookName.FindStringSubmatch(message)
	return strings.Contains(message, "ValidatingAdmissionPolicy ") || webhook != nil && !strings.HasSuffix(webhook[1], ".kargo.akuity.io")
}

var webhookName = regexp.MustCompile(`admission webhook "([^"]*)" denied the request`)

// cannot is how the API server says that a Role is missing.
var cannot = regexp.MustCompile(` cannot \S+ resource`)
