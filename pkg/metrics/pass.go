package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// Pass is the outcome of one run of a command that asks servers.
type Pass struct {
	Command  string // promote or analyze
	Begin    time.Time
	End      time.Time
	Success  bool
	Problems int // failures of single images
	Images   int // images and base images that were analyzed
	Started  int // rebuilds
	Ended    map[state.RebuildStatus]int
	Requests map[string]Requests // by registry host
}

// Requests counts the requests of a pass to a registry.
type Requests struct {
	Requests, Pulls int
	Remaining       int // pulls that are left, according to the registry; -1 if it does not say
}

// Set returns the metrics of the pass. The time of a success is among them only if it is one, so that the time of the last
// success stays where metrics are added to those before.
func (p *Pass) Set() *Set {
	s, command := &Set{}, []string{"command", p.Command}
	s.gauge("pass_timestamp_seconds", "Time when the last pass ended.").at(p.End, command...)
	if success := s.gauge("pass_success_timestamp_seconds", "Time when the last successful pass ended."); p.Success {
		success.at(p.End, command...)
	}
	s.gauge("pass_success", "1 if the last pass succeeded, 0 if it failed or one of its images did.").add(boolean(p.Success), command...)
	s.gauge("pass_duration_seconds", "Duration of the last pass.").add(p.End.Sub(p.Begin).Seconds(), command...)
	s.gauge("pass_problems", "Failures of single images in the last pass.").add(float64(p.Problems), command...)
	s.gauge("pass_analyzed", "Images and base images that the last pass analyzed.").add(float64(p.Images), command...)
	s.gauge("pass_rebuilds_started", "Rebuilds that the last pass started.").add(float64(p.Started), command...)
	ended := s.gauge("pass_rebuilds_ended", "Rebuilds whose end the last pass recorded, by status.")
	for _, status := range []state.RebuildStatus{state.Succeeded, state.Unproven, state.WrongBase, state.Failed} {
		ended.add(float64(p.Ended[status]), slices.Concat(command, []string{"status", string(status)})...)
	}
	p.addRequests(s, command)
	return s
}

func (p *Pass) addRequests(s *Set, command []string) {
	requests := s.gauge("pass_registry_requests", "Requests of the last pass to a registry that got a response.")
	pulls := s.gauge("pass_registry_pulls", "Requests of the last pass that a registry counts against its pull limit.")
	left := s.gauge("pass_registry_pulls_remaining", "Pulls that were left at the end of the last pass, according to the registry; absent if it does not say.")
	for _, host := range slices.Sorted(maps.Keys(p.Requests)) {
		r, labels := p.Requests[host], slices.Concat(command, []string{"host", host})
		requests.add(float64(r.Requests), labels...)
		pulls.add(float64(r.Pulls), labels...)
		if r.Remaining >= 0 {
			left.add(float64(r.Remaining), labels...)
		}
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
