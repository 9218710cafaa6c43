// Package plural counts things in English texts.
package plural

import "fmt"

// Count returns "1 image" or "2 images" for the noun "image", whose plural must end in s.
func Count(n int, noun string) string { return Form(n, noun, noun+"s") }

// Form returns "1 entry" or "2 entries" for the two forms of a noun.
func Form(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
