// Command shoot takes a picture of a page in headless Chromium:
//
//	shoot [-chromium PROGRAM] [-width 1280] [-height 800] [-dark] [-full [-crop 1500] | -pdf] [-hash '#image/web'] PAGE PICTURE
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shoot:", err)
		os.Exit(1)
	}
}

func run() error {
	program := flag.String("chromium", "chromium", "`program` to run")
	width := flag.Int64("width", 1280, "width of the window")
	height := flag.Int64("height", 800, "height of the window")
	dark := flag.Bool("dark", false, "prefer dark colours")
	full := flag.Bool("full", false, "take the whole page")
	crop := flag.Int("crop", 0, "keep so many `pixels` from the top; 0 for all")
	pdf := flag.Bool("pdf", false, "print the page as PDF")
	hash := flag.String("hash", "", "`fragment` of the URL")
	script := flag.String("eval", "", "`JavaScript` to run before the picture")
	flag.Parse()
	file, err := filepath.Abs(flag.Arg(0))
	if err != nil {
		return err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(*program), chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	scheme := "light"
	if *dark {
		scheme = "dark"
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(*width, *height)); err != nil {
		return err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		return err
	}
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+file+*hash), settle()); err != nil {
		return err
	}
	if *script != "" {
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](*script)); err != nil {
			return err
		}
		if err := chromedp.Do(ctx, settle()); err != nil {
			return err
		}
	}
	take := chromedp.CaptureScreenshot()
	switch {
	case *pdf:
		take = chromedp.PrintToPDF(func(p *page.PrintToPDFParams) { p.PreferCSSPageSize = new(true) })
	case *full:
		take = chromedp.FullScreenshot(100)
	}
	picture, err := chromedp.Run(ctx, take)
	if err == nil && *crop > 0 {
		picture, err = top(picture, *crop)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(flag.Arg(1), picture, 0o600)
}

// top returns the upper part of a picture.
func top(picture []byte, height int) ([]byte, error) {
	whole, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	part := image.NewRGBA(image.Rect(0, 0, whole.Bounds().Dx(), height))
	draw.Draw(part, part.Bounds(), whole, whole.Bounds().Min, draw.Src)
	var out bytes.Buffer
	err = png.Encode(&out, part)
	return out.Bytes(), err
}

// settle waits until the graph is drawn.
func settle() chromedp.Action[chromedp.Void] { return chromedp.Sleep(500 * time.Millisecond) }
