package dockerfile_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain makes the property tests draw the same files in every run, so that a difference from BuildKit that nobody has
// seen yet does not fail an unrelated change. -rapid.seed and `make fuzz` look for new ones.
func TestMain(m *testing.M) {
	flag.Parse()
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == seed.DefValue {
		if err := flag.Set("rapid.seed", "1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
