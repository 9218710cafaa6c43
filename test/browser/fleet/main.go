// Command fleet writes a fleet of a number of images: fleet DIR IMAGES.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/imagefactory/imagefactory/test/browser/sample"
)

func main() {
	images, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = sample.Write(os.Args[1], sample.Options{Images: images, Now: time.Now()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}
