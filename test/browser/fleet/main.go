// Command fleet writes a fleet of a number of images, whose base images have a number of findings of scans:
//
//	fleet DIR IMAGES FINDINGS
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
	findings := 0
	if err == nil {
		findings, err = strconv.Atoi(os.Args[3])
	}
	if err == nil {
		err = sample.Write(os.Args[1], sample.Options{Images: images, Findings: findings, Now: time.Now()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}
