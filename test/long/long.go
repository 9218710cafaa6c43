// Package long lets tests do less under go test -short, as `make test` runs them. `make test-long` runs in full the tests that do.
package long

import "testing"

// Iterations returns full, or quick under go test -short.
func Iterations(quick, full int) int {
	if testing.Short() {
		return quick
	}
	return full
}

// Only skips the test under go test -short.
func Only(t testing.TB, reason string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make test-long: " + reason)
	}
}
