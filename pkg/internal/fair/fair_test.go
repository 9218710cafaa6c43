package fair

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestTasksThatNeverEndLeaveRoomForTheOthers: one owner's tasks hang, at whatever place in the order and on however many
// hosts; all tasks of the others are done all the same.
func TestTasksThatNeverEndLeaveRoomForTheOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const workers = 8
		var tasks []Task
		hosts := rapid.IntRange(1, 60).Draw(t, "slow hosts")
		for i := range rapid.IntRange(1, 60).Draw(t, "slow") {
			tasks = append(tasks, Task{Name: "slow", Host: fmt.Sprintf("slow%d", i%hosts), Owner: "hostile"})
		}
		good := rapid.IntRange(1, 40).Draw(t, "good")
		for i := range good {
			tasks = append(tasks, Task{Name: strconv.Itoa(i), Host: "good", Owner: strconv.Itoa(i % 7)})
		}
		tasks = rapid.Permutation(tasks).Draw(t, "order")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		done := map[string]bool{}
		Run(ctx, workers, tasks, func(i int) {
			if tasks[i].Name == "slow" {
				<-ctx.Done()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if done[tasks[i].Name] = true; len(done) == good {
				cancel() // else it goes on for ever
			}
		})
		assert.Len(t, done, good)
	})
}

func TestEveryTaskIsDoneOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := make([]Task, rapid.IntRange(0, 50).Draw(t, "tasks"))
		for i := range tasks {
			tasks[i].Host = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "host")
			tasks[i].Owner = rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "owner")
		}
		var mu sync.Mutex
		times := make([]int, len(tasks))
		Run(t.Context(), rapid.IntRange(1, 9).Draw(t, "workers"), tasks, func(i int) {
			mu.Lock()
			defer mu.Unlock()
			times[i]++
		})
		for _, n := range times {
			assert.Equal(t, 1, n)
		}
	})
}

// TestRotationReachesEveryTask: passes that get no further than a part of everything get to all of it.
func TestRotationReachesEveryTask(t *testing.T) {
	names := make([]string, 60) // as many as there are minutes between two passes
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	for _, reached := range []int{1, 7, 30} {
		seen := map[string]bool{}
		now := time.Date(2026, 3, 1, 12, 0, 7, 0, time.UTC)
		passes := 0
		for ; len(seen) < len(names); passes++ {
			require.LessOrEqual(t, passes, len(names), "%d a pass", reached)
			for _, name := range (Rotation{Pass: now.Unix() / 3600}).Order(names)[:reached] {
				seen[name] = true
			}
			now = now.Add(time.Hour)
		}
		assert.LessOrEqual(t, passes, 3*len(names)/reached, "hardly more than without any overlap")
	}
	got := Rotation{Pass: 5, First: map[string]bool{"17": true, "4": true}}.Order(names)
	assert.ElementsMatch(t, []string{"4", "17"}, got[:2], "what the pass before missed comes first")
	assert.ElementsMatch(t, names, got)
}

func TestHangingHostUsesOnlyItsShare(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var asked, causes []string
	items := []string{"slow/1", "slow/2", "good/1", "slow/3", "good/2", "bad/1", "bad/2"}
	ByHost(ctx, items, func(item string) string { host, _, _ := strings.Cut(item, "/"); return host }, func(ctx context.Context, item string) bool {
		asked = append(asked, item)
		switch item[:3] {
		case "slo":
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx).Error())
			return false
		case "bad":
			return false
		}
		return ctx.Err() == nil
	})
	assert.Equal(t, []string{"slow/1", "good/1", "good/2", "bad/1"}, asked[:4])
	assert.Contains(t, causes[0], "slow used up its share of the time")
}

// TestItemsOfOneHostThatHangLeaveTimeForTheOthers: what is left when a host gave no answer does not get stuck again.
func TestItemsOfOneHostThatHangLeaveTimeForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var answered []string
		ByHost(ctx, []string{"a", "b", "c", "d"}, func(string) string { return "host" }, func(ctx context.Context, item string) bool {
			if item == "a" || item == "b" {
				within, cancel := context.WithTimeout(ctx, 2*time.Minute+30*time.Second)
				defer cancel()
				<-within.Done()
				return false
			}
			if ctx.Err() == nil {
				answered = append(answered, item)
			}
			return ctx.Err() == nil
		})
		assert.Equal(t, []string{"c", "d"}, answered)
	})
}
