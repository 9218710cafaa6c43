// Package proxytest stands before real servers in tests.
package proxytest

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// To passes requests on to a host without TLS.
func To(host string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: host})
			r.Out.Host = r.In.Host // the URLs in its responses lead back here
		},
		ErrorLog: log.New(io.Discard, "", 0), // of clients that do not wait
	}
}
