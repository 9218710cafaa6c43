// Package servertime compares the clock of this machine with that of servers. Times recorded by a wrong clock stay in state: a
// digest that was first seen a year ahead would be young for a year.
package servertime

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
)

const (
	tolerance = 10 * time.Minute
	slow      = time.Minute // a slower response is too imprecise
	quorum    = 2           // servers that must agree: one alone may be wrong itself
	maxNamed  = 3           // servers that a message names
	maxAge    = 30 * 24 * time.Hour
)

// Clock compares a clock with the Date of HTTP responses. A nil Clock compares nothing. It may be used by many goroutines.
type Clock struct {
	now func() time.Time

	mu      sync.Mutex
	ahead   map[string]time.Duration // by host: the least that the clock differs from it
	trusted map[string]bool
}

// New returns a Clock; nil without now.
func New(now func() time.Time) *Clock {
	if now == nil {
		return nil
	}
	return &Clock{now: now, ahead: map[string]time.Duration{}, trusted: map[string]bool{}}
}

// Trust names hosts that an operator chose, as requests name them. The others cannot contradict the clock without half of
// the trusted ones: whoever can write a Dockerfile can make us ask any number of servers.
func (c *Clock) Trust(hosts ...string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, host := range hosts {
		c.trusted[host] = true
	}
}

// Reset drops all samples. Long-running callers call it between passes.
func (c *Clock) Reset() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.ahead)
}

// Check returns an error when at least two servers, more than half of all that were asked and half of the trusted ones, say
// that the clock is more than ten minutes ahead, or that it is behind.
func (c *Clock) Check() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	trusted := 0
	for host := range c.ahead {
		if c.trusted[host] {
			trusted++
		}
	}
	for _, sign := range []time.Duration{1, -1} {
		e, agree := &clockError{}, 0
		var by []time.Duration
		for host, ahead := range c.ahead {
			if ahead*sign > tolerance {
				e.Hosts = append(e.Hosts, host)
				by = append(by, ahead)
				if c.trusted[host] {
					agree++
				}
			}
		}
		if len(by) >= quorum && 2*len(by) > len(c.ahead) && 2*agree >= trusted {
			slices.Sort(e.Hosts)
			slices.Sort(by)
			e.Ahead = by[len(by)/2]
			return e
		}
	}
	return nil
}

// Doubt returns a warning if the only server that was asked contradicts the clock, else "".
func (c *Clock) Doubt() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for host, ahead := range c.ahead {
		if len(c.ahead) == 1 && ahead.Abs() > tolerance {
			e := &clockError{Ahead: ahead, Hosts: []string{host}}
			return e.what() + ", the only server that was asked: one of the two is wrong"
		}
	}
	return ""
}

// clockError is a clock that several servers contradict.
type clockError struct {
	Ahead time.Duration // negative when it is behind
	Hosts []string
}

func (e *clockError) Error() string { return e.what() + " (correct it, for example with NTP)" }

func (e *clockError) what() string {
	direction := "ahead of"
	if e.Ahead < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("the clock of this machine is %s %s %s", distance(e.Ahead.Abs()), direction, plural.Listed(e.Hosts, maxNamed))
}

func distance(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return d.Round(time.Minute).String() // Date has seconds, and a response takes its time
	}
	return fmt.Sprintf("%d days", d/day)
}

// Observe adds the Date of a response as a sample, given how long the response took. The best sample of a host counts, since a
// cache can return an old response.
func (c *Clock) Observe(host string, took time.Duration, header http.Header) {
	if c == nil {
		return
	}
	now := c.now()
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || took > slow {
		return
	}
	ahead := now.Sub(date.Add(age(header)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, known := c.ahead[host]; !known || ahead.Abs() < before.Abs() {
		c.ahead[host] = ahead
	}
}

// age returns how long a cache has kept a response (RFC 9111, 5.1).
func age(header http.Header) time.Duration {
	n, err := strconv.ParseInt(strings.TrimSpace(header.Get("Age")), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, int64(maxAge/time.Second)))*time.Second, maxAge)
}
