package fleet

import (
	"context"
	"log/slog"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/policy"
)

// LogDecisions writes a line for each decision with its inputs, at debug level. Inputs that are not set are left out.
func LogDecisions(ctx context.Context, log *slog.Logger, decisions []policy.Decision) {
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for i := range decisions {
		d := &decisions[i]
		attrs := set(
			slog.String("image", d.Image), slog.String("status", string(d.Status)), slog.String("reason", d.Reason),
			slog.Time("since", d.Since), slog.Time("until", d.Until), slog.String("rebuild", d.Rebuild),
		)
		for j := range d.Bases {
			b := &d.Bases[j]
			attrs = append(attrs, slog.GroupAttrs(b.Ref, set(
				slog.String("lock", b.Lock.Digest), slog.String("origin", string(b.Origin)), slog.Bool("due", b.Due),
				slog.String("current", b.Current), slog.String("waiting", b.Waiting), slog.Time("until", b.Until), slog.Bool("held", b.Held))...))
		}
		log.LogAttrs(ctx, slog.LevelDebug, "decision", attrs...)
	}
}

// set returns the attributes that have a value.
func set(attrs ...slog.Attr) []slog.Attr {
	return slices.DeleteFunc(attrs, func(a slog.Attr) bool {
		switch a.Value.Kind() {
		case slog.KindString:
			return a.Value.String() == ""
		case slog.KindTime:
			return a.Value.Time().IsZero()
		default:
			return false
		}
	})
}
