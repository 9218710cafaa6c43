// Command app is the binary in the layer that the test images add to their base. Its only module has a hole in the test's
// vulnerability databases.
package main

import (
	"fmt"

	"golang.org/x/text/language"
)

func main() { fmt.Println(language.English) }
