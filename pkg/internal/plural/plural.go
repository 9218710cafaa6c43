// Package plural counts things in English texts.
package plural

import (
	"fmt"
	"strings"
)

// Count returns "1 image" or "2 images" for the noun "image", whose plural must end in s.
func Count(n int, noun string) string { return Form(n, noun, noun+"s") }

// Form returns "1 entry" or "2 entries" for the two forms of a noun.
func Form(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Listed joins the first most names with commas, and appends the number of the others.
func Listed(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
