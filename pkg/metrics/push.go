package metrics

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// pushTimeout bounds one push: a pass does not wait for its metrics for long.
const pushTimeout = 10 * time.Second

// maxAnswer bounds what is shown of the answer of a server.
const maxAnswer = 200

// NewClient returns the client for Pushgateways and collectors. Inside a cluster they commonly have no certificate, so a URL
// with http is taken as it is.
func NewClient(o httpx.Options) *http.Client {
	o.Insecure = func(string) bool { return true }
	o.RetryUnreachable, o.Attempts = true, 2
	return &http.Client{Transport: httpx.New(o)}
}

// Gateway is a Prometheus Pushgateway.
type Gateway struct {
	url      *url.URL // without credentials
	username string
	password string
	group    bool // the URL names the group
}

// jobPath begins the path that names a group of metrics.
const jobPath = "/metrics/job/"

// ParseGateway parses the URL of a Pushgateway. It may hold a user and password, and may end in the path of a group, such as
// /metrics/job/images/team/shop; the default is /metrics/job/imagefactory.
func ParseGateway(s string) (*Gateway, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil: // the error quotes the URL
		return nil, errors.New("invalid URL of a Pushgateway")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("invalid URL of a Pushgateway: want one such as http://pushgateway.example.com:9091, without query")
	}
	g := &Gateway{url: u, username: u.User.Username()}
	g.password, _ = u.User.Password()
	u.User = nil
	u.Path = strings.TrimRight(u.Path, "/")
	_, group, named := strings.Cut(u.Path+"/", jobPath)
	g.group = named
	if !named {
		u.Path += jobPath + "imagefactory"
	} else if labels := strings.Split(strings.TrimSuffix(group, "/"), "/"); len(labels)%2 == 0 || slices.Contains(labels, "") {
		return nil, fmt.Errorf("invalid group in the URL of a Pushgateway %q: want /metrics/job/NAME or /metrics/job/NAME/LABEL/VALUE", u)
	}
	u.RawPath = ""
	return g, nil
}

// String returns the URL without credentials.
func (g *Gateway) String() string { return g.url.String() }

// NamesGroup reports whether the URL names the group.
func (g *Gateway) NamesGroup() bool { return g.group }

// Replace replaces the metrics of the group.
func (g *Gateway) Replace(ctx context.Context, client *http.Client, s *Set) error {
	return g.send(ctx, client, http.MethodPut, g.url.String(), s)
}

// Add adds metrics to a group below the one of the gateway, and replaces those of the same names only.
func (g *Gateway) Add(ctx context.Context, client *http.Client, s *Set, label, value string) error {
	u := *g.url
	u.Path = path.Join(u.Path, label, value)
	return g.send(ctx, client, http.MethodPost, u.String(), s)
}

func (g *Gateway) send(ctx context.Context, client *http.Client, method, to string, s *Set) error {
	var body bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	if err := s.encode(&body, format); err != nil {
		return err
	}
	header := http.Header{"Content-Type": {string(format)}}
	err := send(ctx, client, pushTimeout, method, to, header, body.Bytes(), func(req *http.Request) {
		if g.username != "" || g.password != "" {
			req.SetBasicAuth(g.username, g.password)
		}
	}, g.password, g.username+":"+g.password)
	if err != nil {
		return fmt.Errorf("pushing metrics to %s: %w", to, err)
	}
	return nil
}

// send sends a request and returns an error unless its status says success. Secrets are removed from the text of the answer.
func send(ctx context.Context, client *http.Client, timeout time.Duration, method, to string, header http.Header, body []byte, edit func(*http.Request), secrets ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("invalid URL")
	}
	req.Header = header
	edit(req)
	resp, err := client.Do(req)
	if err != nil {
		return withoutURL(ctx, err, timeout)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	text := sanitize.Cut(sanitize.Foreign(strings.ToValidUTF8(string(answer), ""), secrets...), maxAnswer)
	return errors.New(strings.TrimSuffix(resp.Status+": "+cmp.Or(text, http.StatusText(resp.StatusCode)), ": "))
}

// withoutURL returns an error of a client without the URL, which the caller names.
func withoutURL(ctx context.Context, err error, timeout time.Duration) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", timeout)
	}
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
