package credentials

import (
	"testing"
	"time"
)

// SetHelperTime sets how long a credential helper may take, for one test.
func SetHelperTime(t *testing.T, d time.Duration) {
	old := helperTime
	helperTime = d
	t.Cleanup(func() { helperTime = old })
}
