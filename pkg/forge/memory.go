package forge

import "sync"

// memory is what a Client started, by rebuild. It keeps two orders of one run apart that a forge does not tell apart.
type memory struct {
	mu      sync.Mutex
	started map[string]start
}

// start is a build that was asked for. Its run has no ID while it is not known.
type start struct {
	builder string
	run     Run
}

func (m *memory) put(s service, o Order, run Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started[o.Rebuild] = start{s.builder(), run}
}

// drop forgets a build that was surely not started.
func (m *memory) drop(o Order) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.started, o.Rebuild)
}

func (m *memory) get(o Order) Run {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.started[o.Rebuild].run
}

// others are the runs of other rebuilds at the same builder. It is blind when there may be one more that is not known.
func (m *memory) others(s service, o Order) (runs map[string]bool, blind bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	runs = map[string]bool{}
	for rebuild, other := range m.started {
		if rebuild == o.Rebuild || other.builder != s.builder() {
			continue
		}
		if other.run.ID == "" {
			blind = true
		}
		runs[other.run.ID] = true
	}
	return runs, blind
}
