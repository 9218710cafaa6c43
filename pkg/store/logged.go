package store

import (
	"context"
	"log/slog"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Logged returns a [Store] that logs every saved file and its changes at info level. Without such a log it is the store
// itself: finding the changes reads each file again.
func Logged(store Store, log *slog.Logger) Store {
	if !log.Enabled(context.Background(), slog.LevelInfo) {
		return store
	}
	return logged{store, log}
}

type logged struct {
	Store
	log *slog.Logger
}

// Update implements [Store].
func (l logged) Update(ctx context.Context, do func(context.Context, *fleet.Fleet) (*fleet.Change, error)) (Saved, error) {
	var change *fleet.Change
	saved, err := l.Store.Update(ctx, func(ctx context.Context, f *fleet.Fleet) (_ *fleet.Change, err error) {
		change, err = do(ctx, f)
		return change, err
	})
	if err != nil || change == nil {
		return saved, err
	}
	for _, file := range change.Changed {
		why := strings.Join(state.Summary(file, change.Before[file], change.After[file]), "; ")
		l.log.InfoContext(ctx, "state file", "file", file, "change", why, "commit", saved.Commit)
	}
	return saved, nil
}
