package forge

import "sync"

// memory holds the builds that a [Client] started, by rebuild. It keeps two rebuilds of one workflow apart where the forge
// cannot.
type memory struct {
	mu      sync.Mutex
	started map[string]start
}

// start is a build that was requested. Its run has no ID until it is known.
type start struct {
	builder string
	run     Run
}

func (m *memory) put(s service, d Dispatch, run Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started[d.Rebuild] = start{s.builder(), run}
}

// drop forgets a build that was certainly not started.
func (m *memory) drop(d Dispatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.started, d.Rebuild)
}

func (m *memory) get(d Dispatch) Run {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.started[d.Rebuild].run
}

// others returns the runs of other rebuilds at the same builder, and whether there may be an unknown one.
func (m *memory) others(s service, d Dispatch) (runs map[string]bool, incomplete bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	runs = map[string]bool{}
	for rebuild, other := range m.started {
		if rebuild == d.Rebuild || other.builder != s.builder() {
			continue
		}
		if other.run.ID == "" {
			incomplete = true
		}
		runs[other.run.ID] = true
	}
	return runs, incomplete
}
