// Package fair shares workers and time among hosts and owners, so that a slow one does not use up what the others need.
package fair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Task is one of many items to work on.
type Task struct {
	Name  string
	Host  string // that is asked
	Owner string // whom it is for; may be empty
}

// schedule chooses the next Task. It prefers hosts and owners that have little in flight, and then those that were not
// served for the longest time: so the slow tasks of one of them never occupy every worker while another one has tasks left.
type schedule struct {
	hosts    []*hostQueue
	inFlight map[Task]int // by host and by owner, without the rest
	served   int
}

// hostQueue holds the tasks of one host.
type hostQueue struct {
	host   string
	owners []*ownerQueue // the one to be served next comes first
	served int           // when a Task of it was last chosen
}

type ownerQueue struct {
	owner string
	tasks []int
}

func newSchedule(tasks []Task) *schedule {
	s := &schedule{inFlight: map[Task]int{}}
	hosts, owners := map[string]*hostQueue{}, map[Task]*ownerQueue{}
	for i, t := range tasks {
		h, key := hosts[t.Host], Task{Host: t.Host, Owner: t.Owner}
		if h == nil {
			h = &hostQueue{host: t.Host}
			hosts[t.Host] = h
			s.hosts = append(s.hosts, h)
		}
		o := owners[key]
		if o == nil {
			o = &ownerQueue{owner: t.Owner}
			owners[key] = o
			h.owners = append(h.owners, o)
		}
		o.tasks = append(o.tasks, i)
	}
	return s
}

// next returns the index of the next Task; ok is false when none is left.
func (s *schedule) next() (index int, ok bool) {
	var host *hostQueue
	at, least := 0, 0
	for _, h := range s.hosts {
		i, load := s.best(h)
		if host == nil || load < least || load == least && h.served < host.served {
			host, at, least = h, i, load
		}
	}
	if host == nil {
		return 0, false
	}
	q := host.owners[at]
	index, q.tasks = q.tasks[0], q.tasks[1:]
	host.owners = slices.Delete(host.owners, at, at+1)
	if len(q.tasks) > 0 {
		host.owners = append(host.owners, q)
	}
	if len(host.owners) == 0 {
		s.hosts = slices.DeleteFunc(s.hosts, func(h *hostQueue) bool { return h == host })
	}
	s.served++
	host.served = s.served
	s.count(Task{Host: host.host, Owner: q.owner}, 1)
	return index, true
}

// best returns the owner of a host that has the least in flight, and what that one or the host has, whichever is more.
func (s *schedule) best(h *hostQueue) (at, load int) {
	floor, least := s.inFlight[Task{Host: h.host}], -1
	for i, q := range h.owners {
		n := 0
		if q.owner != "" {
			n = s.inFlight[Task{Owner: q.owner}]
		}
		if least < 0 || n < least {
			at, least = i, n
		}
		if least <= floor {
			break // no other one makes it less
		}
	}
	return at, max(floor, least)
}

func (s *schedule) count(t Task, n int) {
	s.inFlight[Task{Host: t.Host}] += n
	if t.Owner != "" {
		s.inFlight[Task{Owner: t.Owner}] += n
	}
}

// Run runs tasks, at most so many at once, until ctx is done. It returns when all that were begun have ended.
func Run(ctx context.Context, workers int, tasks []Task, run func(i int)) {
	s, running, ended := newSchedule(tasks), 0, make(chan int)
	for {
		for running < workers && ctx.Err() == nil {
			i, ok := s.next()
			if !ok {
				break
			}
			running++
			go func() {
				run(i)
				ended <- i
			}()
		}
		if running == 0 {
			return
		}
		s.count(tasks[<-ended], -1)
		running--
	}
}

// Share returns a context for the next of so many parts of some work: it ends when an equal share of the time that ctx
// leaves is over. Without a deadline it does not end before ctx.
func Share(ctx context.Context, parts int, what string) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return context.WithCancel(ctx)
	}
	part := time.Until(end) / time.Duration(parts)
	return context.WithTimeoutCause(ctx, part, fmt.Errorf("%s used up its share of the time (%s)", what, part.Round(time.Second)))
}

// leastShare is the least time for an item that is left: an answer that is slow needs it.
const leastShare = 30 * time.Second

// ByHost calls ask for every item. Each host gets an equal share of the time, and loses the rest of it when it does not
// answer. The items that are left then get equal shares of what remains, while those are long enough to be of use.
func ByHost[T any](ctx context.Context, items []T, hostOf func(T) string, ask func(context.Context, T) (answered bool)) {
	var hosts []string
	grouped := map[string][]T{}
	for _, item := range items {
		host := hostOf(item)
		if len(grouped[host]) == 0 {
			hosts = append(hosts, host)
		}
		grouped[host] = append(grouped[host], item)
	}
	var later []T
	for i, host := range hosts {
		within, cancel := Share(ctx, len(hosts)-i, host)
		left := grouped[host]
		for len(left) > 0 && within.Err() == nil {
			item := left[0]
			left = left[1:]
			if !ask(within, item) {
				break
			}
		}
		later = append(later, left...)
		cancel()
	}
	for i, item := range later {
		parts := len(later) - i
		if end, bounded := ctx.Deadline(); bounded {
			parts = max(min(parts, int(time.Until(end)/leastShare)), 1)
		}
		within, cancel := Share(ctx, parts, hostOf(item))
		ask(within, item)
		cancel()
	}
}

// Rotation holds where a pass begins, so that what one pass does not get to comes first in another one.
type Rotation struct {
	Pass  int64           // number of the pass, by the clock: each begins at another place
	First map[string]bool // names to begin with
}

// Order returns names in the order in which a pass is to look at them.
func (t Rotation) Order(names []string) []string {
	n := int64(len(names))
	if n < 2 {
		return names
	}
	start := int(t.Pass % n * stride(n) % n)
	out := slices.Concat(names[start:], names[:start])
	slices.SortStableFunc(out, func(a, b string) int {
		switch {
		case t.First[a] == t.First[b]:
			return 0
		case t.First[a]:
			return -1
		}
		return 1
	})
	return out
}

// stride is how far the start moves from one pass to the next. It has no factor in common with n, so that n passes begin at
// every place once; and it is near the golden section of n, so that a few passes in a row begin far from each other.
func stride(n int64) int64 {
	for s := max(n*618/1000, 1); ; s++ {
		a, b := s, n
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return s
		}
	}
}

// ErrLate is the error of work that a pass had no time for.
var ErrLate = errors.New("not looked at: no time was left in this pass")
