package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span as written in images.yaml, with the units w (7 days), d (24 hours), h, m and s.
type Duration time.Duration

// maxDuration is the longest accepted duration; anything longer is a typo.
const maxDuration = 10 * 365 * 24 * time.Hour

var unitOf = map[string]time.Duration{
	"w": 7 * 24 * time.Hour, "d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second,
}

// ParseDuration parses durations such as "7d", "2w", "1d12h", "90m" or "0". It rejects negative values, fractions and units below
// a second.
func ParseDuration(s string) (Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if s == "" {
		return 0, errors.New("empty duration")
	}
	var total time.Duration
	last := time.Duration(math.MaxInt64)
	for rest := s; rest != ""; {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits == len(rest) {
			return 0, fmt.Errorf("duration %q: want a number and a unit, such as 7d, 2w, 12h or 0", s)
		}
		unit, ok := unitOf[rest[digits:digits+1]]
		if !ok || unit >= last {
			return 0, fmt.Errorf("duration %q: use the units w, d, h, m, s, largest first", s)
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || n > int64(maxDuration/unit) {
			return 0, fmt.Errorf("duration %q is longer than ten years", s)
		}
		total, last, rest = total+time.Duration(n)*unit, unit, rest[digits+1:]
	}
	if total > maxDuration {
		return 0, fmt.Errorf("duration %q is longer than ten years", s)
	}
	return Duration(total), nil
}

// String returns the shortest form that [ParseDuration] accepts.
func (d Duration) String() string {
	if d == 0 {
		return "0"
	}
	var b strings.Builder
	rest := time.Duration(d)
	for _, unit := range []string{"d", "h", "m", "s"} {
		if n := rest / unitOf[unit]; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit)
			rest %= unitOf[unit]
		}
	}
	return b.String()
}

// Std returns d as a [time.Duration].
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalText returns [Duration.String] as bytes.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses text with [ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil {
		*d = v
	}
	return err
}
