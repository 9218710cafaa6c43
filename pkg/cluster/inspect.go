package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// ErrNoCluster is returned if there is neither a kubeconfig nor a ServiceAccount.
var ErrNoCluster = errors.New("no cluster configured")

// statusError is a response of the API server with an error status.
type statusError struct {
	Code    int
	Message string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the API server answered %d: %s", e.Code, e.Message)
}

// IsStatus reports whether err is a response with the given status code.
func IsStatus(err error, code int) bool {
	var status *statusError
	return errors.As(err, &status) && status.Code == code
}

// Inspector reads objects from an API server, without retries. It changes nothing.
type Inspector struct {
	client *http.Client
	server *url.URL

	secrets []string // that must not be shown when the server repeats them
}

// NewInspector returns an [Inspector] of the cluster in config; nil means that of the pod or of the kubeconfig. It sends no
// request yet.
func NewInspector(config *rest.Config, o httpx.Options) (*Inspector, error) {
	if config == nil {
		var err error
		config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
		if clientcmd.IsEmptyConfig(err) {
			return nil, ErrNoCluster
		}
		if err != nil {
			return nil, fmt.Errorf("reading the kubeconfig: %w", configProblem(err))
		}
	}
	config = rest.CopyConfig(config)
	config.Timeout, config.UserAgent = callTimeout, "imagefactory"
	config.Wrap(func(base http.RoundTripper) http.RoundTripper { return transport(base, o) })
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", configProblem(err))
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("reaching the cluster: %w", configProblem(err))
	}
	return &Inspector{client, server, []string{config.BearerToken, config.Password}}, nil
}

// Get reads a path of the API, such as /api/v1/namespaces/default.
func (i *Inspector) Get(ctx context.Context, path string, query url.Values, into any) error {
	return i.do(ctx, http.MethodGet, path, query, nil, into)
}

// List reads all objects at a path, page by page. A response of another kind, such as that of a gateway, is an error.
func (i *Inspector) List(ctx context.Context, path, selector string) ([]map[string]any, error) {
	var out []map[string]any
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	for {
		var page struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []map[string]any `json:"items"`
		}
		if err := i.Get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		if !strings.HasSuffix(page.Kind, "List") {
			return nil, fmt.Errorf("the API server answered with %q instead of a list", text(page.Kind, 60))
		}
		out = append(out, page.Items...)
		if page.Metadata.Continue == "" {
			return out, nil
		}
		if len(out) > maxObjects {
			return nil, fmt.Errorf("more than %d objects", maxObjects)
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

// Access is something that one may be allowed to do.
type Access struct {
	Namespace string `json:"namespace,omitempty"`
	Group     string `json:"group,omitempty"`
	Resource  string `json:"resource"`
	Name      string `json:"name,omitempty"`
	Verb      string `json:"verb"`
}

// May reports whether the current user is allowed to do something.
func (i *Inspector) May(ctx context.Context, a Access) (bool, error) {
	review := map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": map[string]any{"resourceAttributes": a},
	}
	var answer struct {
		Status struct {
			Allowed bool `json:"allowed"`
		} `json:"status"`
	}
	err := i.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", nil, review, &answer)
	return answer.Status.Allowed, err
}

func (i *Inspector) do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	target := i.server.JoinPath(path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := i.client.Do(req)
	if err != nil {
		return fmt.Errorf("reaching the API server: %w", neterr.Clean(err))
	}
	defer resp.Body.Close()
	const most = 64 << 20
	answer, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return fmt.Errorf("reaching the API server: %w", neterr.Clean(err))
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(answer, &status) // anything but a Status has no message
		return &statusError{resp.StatusCode, text(status.Message, 300, i.secrets...)}
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return errors.New("reading from the API server: the response is not JSON")
	}
	return nil
}
