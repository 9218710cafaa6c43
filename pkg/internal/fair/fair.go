// Package fair shares workers and time among hosts and owners, so that a slow one does not starve the others.
//
// An errgroup with a limit cannot do this: it starts functions in the order of the calls, so the slow tasks of one host come
// to occupy every worker.
package fair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Task is a unit of work for [Run].
type Task struct {
	Name  string
	Host  string // that it sends requests to
	Owner string // image that it is done for; may be empty
}

// schedule selects the next Task. It prefers hosts and owners with the fewest tasks in flight, then the least recently served:
// so slow tasks of one of them never occupy every worker while another one has tasks left.
type schedule struct {
	hosts    []*hostQueue
	inFlight map[Task]int // by Host alone and by Owner alone
	served   int
}

// hostQueue holds the tasks of one host.
type hostQueue struct {
	host   string
	owners []*ownerQueue // least recently served first
	served int           // value of schedule.served when it was last selected
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

// next returns the index of the next Task; ok is false if none is left.
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

// best returns the index of the owner of h with the fewest tasks in flight, and the larger of the counts of owner and host.
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
			break // the host's own count is the minimum
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

// Run calls run for every task, with at most workers calls at a time, until ctx is done. It returns after all calls have
// returned.
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

// Share returns a context for the next of the remaining parts of some work, with an equal share of the time left until the
// deadline of ctx. Without a deadline, it returns a context that ends with ctx. The cause of its end names what.
func Share(ctx context.Context, parts int, what string) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return context.WithCancel(ctx)
	}
	part := time.Until(end) / time.Duration(parts)
	return context.WithTimeoutCause(ctx, part, fmt.Errorf("%s used up its share of the time (%s)", what, part.Round(time.Second)))
}

// minShare is the shortest useful share of time for an item: a slow response needs it.
const minShare = 30 * time.Second

// ByHost calls ask for every item. Each host gets an equal share of the time, and loses the rest of its share when it does not
// respond. The remaining items then get equal shares of the time that is left, but not less than [minShare].
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
			parts = max(min(parts, int(time.Until(end)/minShare)), 1)
		}
		within, cancel := Share(ctx, parts, hostOf(item))
		ask(within, item)
		cancel()
	}
}

// Rotation varies the order of work between passes, so that items that one pass does not reach come first in another one.
type Rotation struct {
	Pass  int64           // number of the pass; each starts at another name
	First map[string]bool // names that come first
}

// Order returns names in the order for this pass.
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

// stride returns how far the start moves between passes. It is coprime to n, so that n passes start at every name once, and
// near the golden section of n, so that consecutive passes start far apart.
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

// ErrLate is the error of work that a pass had no time left for.
var ErrLate = errors.New("not checked: no time left in this pass")
