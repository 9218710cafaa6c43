package cli

import (
	"log/slog"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/fleet"
)

// newLogger returns the logger that --verbose or the environment asks for: IMAGEFACTORY_LOG is debug or info, and
// IMAGEFACTORY_LOG_FORMAT text or json. By default nothing is logged. Lines of text have no time, JSON has.
func newLogger(env *Env, verbose bool) (*slog.Logger, error) {
	options := &slog.HandlerOptions{}
	switch level := strings.ToLower(env.Getenv("IMAGEFACTORY_LOG")); {
	case verbose, level == "debug":
		options.Level = slog.LevelDebug
	case level == "info":
		options.Level = slog.LevelInfo
	case level == "":
		return slog.New(slog.DiscardHandler), nil
	default:
		return nil, fleet.Usagef("invalid IMAGEFACTORY_LOG %q: use debug or info", level)
	}
	switch format := env.Getenv("IMAGEFACTORY_LOG_FORMAT"); format {
	case "json":
		return slog.New(slog.NewJSONHandler(env.Err, options)), nil
	case "", "text":
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		return slog.New(slog.NewTextHandler(env.Err, options)), nil
	default:
		return nil, fleet.Usagef("invalid IMAGEFACTORY_LOG_FORMAT %q: use text or json", format)
	}
}
