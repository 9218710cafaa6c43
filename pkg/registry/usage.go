package registry

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
)

// Usage counts the requests to a host.
type Usage struct {
	Requests  int // with a response
	Pulls     int // of these, manifest GETs: registries count them against a pull limit
	Remaining int // pulls that are left, according to the registry; -1 if it does not say
}

// usage counts by host.
type usage struct {
	mu    sync.Mutex
	hosts map[string]Usage
}

func (u *usage) count(req *http.Request, resp *http.Response) {
	u.mu.Lock()
	defer u.mu.Unlock()
	host := hostname.Normalize(req.URL.Host)
	of, known := u.hosts[host]
	if !known {
		of.Remaining = -1
	}
	of.Requests++
	if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/manifests/") {
		of.Pulls++
	}
	remaining, _, _ := strings.Cut(resp.Header.Get("RateLimit-Remaining"), ";") // 76;w=21600
	if n, err := strconv.Atoi(strings.TrimSpace(remaining)); err == nil && n >= 0 {
		of.Remaining = n
	}
	u.hosts[host] = of
}

func (u *usage) all() map[string]Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.hosts)
}
