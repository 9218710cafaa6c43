package servertime_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/internal/servertime"
)

func TestCheck(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type answer struct {
		host string
		date any // the distance to our clock, or a text
		age  string
	}
	year := 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		answers []answer
		want    string
	}{
		"nothing":             {nil, ""},
		"right":               {[]answer{{"a", time.Minute, ""}, {"b", -9 * time.Minute, ""}}, ""},
		"ahead":               {[]answer{{"b", -year, ""}, {"a", -year, ""}}, "the clock of this machine is 365 days ahead of a, b (correct it"},
		"behind":              {[]answer{{"a", 11 * time.Minute, ""}, {"b", 12 * time.Minute, ""}, {"c", 11 * time.Minute, ""}}, "is 11m0s behind a, b, c ("},
		"many":                {[]answer{{"a", -year, ""}, {"b", -year, ""}, {"c", -year, ""}, {"d", -year, ""}, {"e", time.Second, ""}}, "ahead of a, b, c and 1 more ("},
		"one alone":           {[]answer{{"a", -year, ""}, {"a", -year, ""}}, ""},
		"one that is wrong":   {[]answer{{"a", -year, ""}, {"b", time.Second, ""}}, ""},
		"as many that agree":  {[]answer{{"a", -year, ""}, {"b", -year, ""}, {"c", time.Second, ""}, {"d", time.Second, ""}}, ""},
		"both directions":     {[]answer{{"a", -year, ""}, {"b", year, ""}}, ""},
		"caches":              {[]answer{{"a", -time.Hour, "3600"}, {"b", -time.Hour, " 3599 "}}, ""},
		"caches without age":  {[]answer{{"a", -time.Hour, ""}, {"a", -time.Second, ""}, {"a", -year, ""}, {"b", -time.Hour, "x"}, {"b", time.Minute, "-5"}}, ""},
		"age without end":     {[]answer{{"a", time.Second, "99999999999"}, {"b", time.Second, "9223372036854775807"}}, "is 30 days behind a, b ("},
		"no date":             {[]answer{{"a", "", ""}, {"b", "yesterday", ""}}, ""},
		"dates of the old":    {[]answer{{"a", "Sunday, 01-Mar-26 12:00:01 GMT", ""}, {"b", "Sun Mar  1 12:00:01 2026", ""}}, ""},
		"a day of both years": {[]answer{{"a", "Sun, 01 Mar 2020 12:00:01 GMT", ""}, {"b", "Sun, 01 Mar 2020 12:00:01 GMT", ""}}, "ahead of a, b"},
	} {
		t.Run(name, func(t *testing.T) {
			clock := servertime.New(func() time.Time { return noon })
			for _, a := range c.answers {
				date, isText := a.date.(string)
				if !isText {
					date = noon.Add(a.date.(time.Duration)).Format(http.TimeFormat)
				}
				header := http.Header{}
				if date != "" {
					header.Set("Date", date)
				}
				if a.age != "" {
					header.Set("Age", a.age)
				}
				clock.Observe(a.host, 0, header)
			}
			assert.Equal(t, name == "one alone", clock.Doubt() != "", clock.Doubt())
			err := clock.Check()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			clock.Reset()
			require.NoError(t, clock.Check())
		})
	}
}

func TestTrustedServersDecide(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		right, wrong []string
		contradicted bool
	}{
		"any number of others":     {[]string{"forge"}, []string{"x", "y", "z"}, false},
		"one of two trusted":       {[]string{"forge"}, []string{"registry", "x"}, true},
		"the trusted and others":   {nil, []string{"forge", "x"}, true},
		"no trusted one was asked": {nil, []string{"x", "y"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := servertime.New(func() time.Time { return noon })
			clock.Trust("forge", "registry")
			for _, host := range c.right {
				clock.Observe(host, 0, http.Header{"Date": {noon.Format(http.TimeFormat)}})
			}
			for _, host := range c.wrong {
				clock.Observe(host, 0, http.Header{"Date": {noon.Add(time.Hour).Format(http.TimeFormat)}})
			}
			assert.Equal(t, c.contradicted, clock.Check() != nil)
		})
	}
}

func TestSlowResponseIsIgnored(t *testing.T) {
	clock := servertime.New(func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) })
	for _, host := range []string{"a", "b"} {
		clock.Observe(host, 2*time.Minute, http.Header{"Date": {"Sun, 01 Mar 2020 12:00:01 GMT"}})
	}
	require.NoError(t, clock.Check())
}

func TestNoClock(t *testing.T) {
	clock := servertime.New(nil)
	clock.Observe("a", 0, http.Header{"Date": {"Sun, 01 Mar 2020 12:00:01 GMT"}})
	require.NoError(t, clock.Check())
	assert.Empty(t, clock.Doubt())
	clock.Reset()
}
