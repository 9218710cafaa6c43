package promote

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/imagefactory/imagefactory/pkg/analyze"
	"github.com/imagefactory/imagefactory/pkg/fleet"
)

const (
	basesPeriod  = 6 * time.Hour  // in which a sweep observes every base image
	imagesPeriod = 24 * time.Hour // in which a sweep observes every enrolled image
)

// interval returns the time between two passes, by the schedule.
func interval(f *fleet.Fleet, now time.Time) time.Duration {
	s, err := cron.ParseStandard(f.Config.Factory.Schedule)
	if err != nil {
		return time.Hour
	}
	first := s.Next(now)
	return s.Next(first).Sub(first)
}

// passAt returns the number of the pass at a time, by the schedule.
func passAt(f *fleet.Fleet, now time.Time) int64 {
	return now.Unix() / max(int64(interval(f, now)/time.Second), 1)
}

// addSweepShard adds the names whose turn it is in the periodic resync.
func addSweepShard(f *fleet.Fleet, scope *analyze.Scope, now time.Time) {
	every := interval(f, now)
	for _, name := range f.Graph.Bases() {
		if inShard(name, now, every, basesPeriod) && !slices.Contains(scope.Bases, name) {
			scope.Bases = append(scope.Bases, name)
		}
	}
	for _, name := range f.Graph.Order() {
		if inShard(name, now, every, imagesPeriod) && !slices.Contains(scope.Published, name) {
			scope.Published = append(scope.Published, name)
		}
	}
}

// inShard reports whether it is a name's turn in the pass at a time: once in each period, if passes come at that interval.
func inShard(name string, now time.Time, interval, period time.Duration) bool {
	if interval <= 0 || interval >= period {
		return true
	}
	passes := uint64(period / interval)
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum64()%passes == uint64(now.Unix()/int64(interval/time.Second))%passes
}
