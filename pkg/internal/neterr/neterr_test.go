package neterr_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

const canary = "CANARY"

// answering is a server that answers every connection with these bytes.
func answering(t *testing.T, answer string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, answer)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func get(t *testing.T, client *http.Client, target string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	return err
}

func TestNoServerIsQuoted(t *testing.T) {
	redirect := func(to string) string {
		return "HTTP/1.1 302 " + canary + "\r\nContent-Length: 0\r\nConnection: close\r\nLocation: " + to + "\r\n\r\n"
	}
	for name, c := range map[string]struct{ answer, want string }{
		"no HTTP":           {canary + "\r\n\r\n", "malformed HTTP response"},
		"status":            {"HTTP/1.1 " + canary + "\r\n\r\n", "malformed HTTP response"},
		"version":           {"HTTP/" + canary + " 200 OK\r\n\r\n", "malformed HTTP response"},
		"header":            {"HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", "malformed HTTP response"},
		"length":            {"HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n", "malformed HTTP response"},
		"coding":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n", "malformed HTTP response"},
		"chunks":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n", "no usable HTTP response"},
		"nothing":           {"", "EOF"},
		"half":              {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "unexpected EOF"},
		"redirect nowhere":  {redirect("http://127.0.0.1:1/a?t=" + canary + "#" + canary), `Get "http://127.0.0.1:1/a": dial tcp 127.0.0.1:1: connect: connection refused`},
		"redirect of users": {redirect("http://" + canary + ":" + canary + "@127.0.0.1:1/"), `Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused`},
		"redirect scheme":   {redirect(strings.ToLower(canary) + "://127.0.0.1/"), "unsupported protocol scheme"},
		"bad redirect":      {redirect("/%zz?t=" + canary), "invalid Location header in a redirect"},
		"bad port":          {redirect("http://127.0.0.1:" + canary + "/"), "invalid Location header in a redirect"},
		"redirects":         {redirect("/again?t=" + canary), "stopped after 10 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			err := get(t, &http.Client{Transport: &http.Transport{}}, "http://"+answering(t, c.answer)+"/x?own="+canary)
			require.Error(t, err)
			text := neterr.Text(err)
			assert.Contains(t, text, c.want, err.Error())
			assert.NotContains(t, text, canary)
			assert.NotContains(t, neterr.Inner(err), "x?")
			clean := neterr.Clean(fmt.Errorf("wrapped: %w", err))
			assert.Equal(t, text, clean.Error())
			require.ErrorIs(t, clean, err)
			assert.Equal(t, text, neterr.Text(&url.Error{Op: "Get", URL: "https://example.com/?" + canary, Err: clean}), "what is clean stays")
		})
	}
}

func TestNoProxyIsQuoted(t *testing.T) {
	through := func(proxy string) *http.Client {
		return &http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }}}
	}
	refuses := answering(t, "HTTP/1.1 407 Proxy Authentication Required\r\nX: "+canary+"\r\n\r\n")
	chatty := answering(t, "HTTP/1.1 407 "+canary+"\r\n\r\n")
	for proxy, want := range map[string]string{
		"http://user:" + canary + "@127.0.0.1:1":      "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused",
		"http://user:" + canary + "@" + refuses:       "the proxy answered Proxy Authentication Required",
		"http://user:" + canary + "@" + chatty:        "no usable HTTP response",
		"http://user:" + canary + "@127.0.0.1:no":     "invalid URL",
		canary + "://user:" + canary + "@127.0.0.1:1": "",
	} {
		err := get(t, through(proxy), "https://registry.example/v2/")
		require.Error(t, err)
		assert.Contains(t, neterr.Text(err), want)
		assert.NotContains(t, neterr.Text(err), canary)
	}
	assert.Equal(t, "invalid proxy address (see HTTPS_PROXY and HTTP_PROXY)", neterr.Text(fmt.Errorf("invalid proxy address %q: %v", canary, canary)))
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	assert.Contains(t, neterr.Text(get(t, &http.Client{Transport: &http.Transport{}}, server.URL+"?"+canary)), "certificate signed by unknown authority")
	assert.Equal(t, "tls: first record", neterr.Text(tls.RecordHeaderError{Msg: "first record"}))
}

func TestOtherErrors(t *testing.T) {
	assert.Empty(t, neterr.Text(nil))
	require.NoError(t, neterr.Clean(nil))
	assert.Equal(t, "lookup a.example: no such host", neterr.Text(&net.OpError{Op: "dial", Err: &net.DNSError{Name: "a.example", Err: "no such host"}}))
	assert.Equal(t, "context deadline exceeded", neterr.Text(fmt.Errorf("%s: %w", canary, context.DeadlineExceeded)))
	assert.Equal(t, "no usable HTTP response", neterr.Text(errors.New(canary)))
	assert.Equal(t, "left alone", neterr.Text(&url.Error{Op: "Get", URL: "https://" + canary, Err: neterr.Errorf("left %s", "alone")}))
}
