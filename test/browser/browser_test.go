// Package browser_test opens the page that `imagefactory report` writes in headless Chromium. CHROMIUM names the browser, BINARY
// the imagefactory to test, and AXE the file axe.min.js of axe-core.
package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/browser/sample"
)

// program returns the program that an environment variable names. In CI a test fails without it.
func program(t *testing.T, variable string) string {
	name := os.Getenv(variable)
	if name == "" {
		require.NotEqual(t, "true", os.Getenv("CI"), variable+" is not set (`make browser` sets it)")
		t.Skip(variable + " is not set (`make browser` sets it)")
	}
	return name
}

// write writes a fleet and its page, and returns the page's file.
func write(t *testing.T, o sample.Options) string {
	dir := t.TempDir()
	o.Now = time.Now()
	require.NoError(t, sample.Write(dir, o))
	cmd := exec.CommandContext(t.Context(), program(t, "BINARY"), "report", "-o", "page.html")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(dir, "page.html")
}

// tab is a tab of the browser. It records what a page must not do.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // messages on the console, exceptions, dialogs
	requests []string // but for the page itself
}

func newTab(t *testing.T) *tab {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program(t, "CHROMIUM")), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &tab{T: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.event))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	b.do(chromedp.EmulateViewport(1280, 900))
	return b
}

func (b *tab) event(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Type != network.ResourceTypeDocument && !strings.HasPrefix(e.Request.URL, "data:") {
			b.requests = append(b.requests, e.Request.URL)
		}
	case *runtime.EventConsoleAPICalled:
		b.problems = append(b.problems, "console: "+string(e.Type))
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		b.problems = append(b.problems, "log: "+e.Entry.Text)
	case *cdppage.EventJavascriptDialogOpening:
		b.problems = append(b.problems, "dialog: "+e.Message)
	}
}

// quiet checks that the page requested nothing and had no problem.
func (b *tab) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(b, b.problems)
	assert.Empty(b, b.requests)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, steps...))
}

// eval returns the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err, expression)
	return v
}

func (b *tab) press(keys string) { b.do(chromedp.KeyEvent(keys)) }

func (b *tab) prefer(feature, value string) {
	p := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: feature, Value: value}}}
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, p)
	require.NoError(b, err)
}

func (b *tab) open(file, hash string) { b.do(chromedp.Navigate("file://" + file + hash)) }

func TestTables(t *testing.T) {
	b := newTab(t)
	b.open(write(t, sample.Options{Images: 300}), "")
	assert.Equal(t, 300, eval[int](b, `document.querySelectorAll("#t-images tbody tr").length`))
	const visible = `[...document.querySelectorAll("#t-images tbody tr")].filter((r) => r.offsetParent).length`
	assert.Equal(t, 200, eval[int](b, visible), "the first rows only")

	// A heading sorts, and again the other way round.
	const first = `[...document.querySelectorAll("#t-images tbody tr")].find((r) => r.offsetParent).cells[0].textContent`
	heading := func(n string) string { return "#t-images thead th:nth-child(" + n + ") button" }
	b.do(chromedp.Click(chromedp.CSS(heading("1"))))
	assert.Equal(t, "ascending", eval[string](b, `document.querySelector("#t-images th").getAttribute("aria-sort")`))
	assert.Equal(t, "catalog-api", eval[string](b, first))
	b.do(chromedp.Click(chromedp.CSS(heading("1"))))
	assert.Equal(t, "descending", eval[string](b, `document.querySelector("#t-images th").getAttribute("aria-sort")`))
	assert.Equal(t, "tracking-worker-4", eval[string](b, first))

	// Words and choices filter.
	b.do(chromedp.SendKeys(chromedp.CSS(`[data-for=t-images] input`), "shop-web team-core"))
	assert.Regexp(t, `^[1-9] of 300$`, eval[string](b, `document.querySelector("[data-for=t-images] output").textContent`))
	assert.Equal(t, "true", eval[string](b, `String([...document.querySelectorAll("#t-images tbody tr")].filter((r) => r.offsetParent).every((r) => /shop-web.*team-core/.test(r.textContent)))`))
	b.do(chromedp.Click(chromedp.CSS(".counts a[data-show=failed]")))
	assert.Equal(t, "failed", eval[string](b, `[...new Set([...document.querySelectorAll("#t-images tbody tr")].filter((r) => r.offsetParent).map((r) => r.dataset.status))].join()`))
	b.quiet()
}

func TestDetails(t *testing.T) {
	b := newTab(t)
	file := write(t, sample.Options{Images: 30})
	b.open(file, "")
	b.do(chromedp.Click(chromedp.CSS(`#t-images a[href="#image/shop-web"]`)), chromedp.WaitVisible(chromedp.CSS("#panel")))
	details := eval[string](b, `document.getElementById("panel").innerText`)
	for _, want := range []string{"shop-web", "ghcr.io/acme/shop-web", "@acme/data", "Built on", "provenance attestation", "Rebuilds", "Warehouse/"} {
		assert.Contains(t, details, want)
	}
	assert.Equal(t, "#image/shop-web", eval[string](b, "location.hash"))
	assert.Equal(t, "panel", eval[string](b, "document.activeElement.id"))
	assert.Regexp(t, `^https://github.com/acme/shop-web/actions/runs/\d+$`, eval[string](b, `document.querySelector("#panel a[href*=runs]").href`))

	// On to a base image, back, and out; the focus returns to the link.
	b.do(chromedp.Click(chromedp.CSS(`#panel .use a`)))
	assert.Regexp(t, `^#base/`, eval[string](b, "location.hash"))
	assert.Contains(t, eval[string](b, `document.getElementById("panel").innerText`), "Used by")
	b.do(chromedp.NavigateBack())
	assert.Contains(t, eval[string](b, `document.getElementById("panel").innerText`), "ghcr.io/acme/shop-web")
	b.press(kb.Escape)
	assert.True(t, eval[bool](b, `document.getElementById("panel").hidden`))
	assert.Equal(t, "#image/shop-web", eval[string](b, `document.activeElement.getAttribute("href")`))

	// A link to an image opens its details; one to nothing does not.
	b.open("/dev/null", "")
	b.open(file, "#image/shop-api")
	assert.Equal(t, "Details of shop-api", eval[string](b, `document.getElementById("panel").getAttribute("aria-label")`))
	b.open("/dev/null", "")
	b.open(file, "#image/%E0%A4%A")
	assert.True(t, eval[bool](b, `document.getElementById("panel").hidden`))
	b.quiet()
}

// TestVulnerabilities: the table of all is filtered by severity, and the details of images and base images list theirs.
func TestVulnerabilities(t *testing.T) {
	b := newTab(t)
	file := write(t, sample.Options{Images: 30, Findings: 6})
	b.open(file, "")
	assert.Regexp(t, `^Vulnerabilities: \d+ critical, \d+ high$`, eval[string](b, `[...document.querySelectorAll(".card h3")].find((h) => h.textContent.startsWith("Vuln")).textContent`))
	const shown = `[...new Set([...document.querySelectorAll("#t-vulnerabilities tbody tr")].filter((r) => r.offsetParent).map((r) => r.dataset.status))].join()`
	assert.Equal(t, "critical,high", eval[string](b, shown))
	b.do(chromedp.SendKeys(chromedp.CSS(`[data-for=t-vulnerabilities] select`), "high"))
	assert.Equal(t, "high", eval[string](b, shown))
	b.do(chromedp.Click(chromedp.CSS(`#t-vulnerabilities tr[data-status=high] a`)), chromedp.WaitVisible(chromedp.CSS("#panel")))
	assert.Contains(t, eval[string](b, `document.getElementById("panel").innerText`), "not listed")
	b.open("/dev/null", "")
	b.open(file, "#image/login-api")
	details := eval[string](b, `document.getElementById("panel").innerText`)
	for _, want := range []string{"Vulnerabilities", "CVE-2026-1500", "critical", "openssl 1.0.0 → 3.0.17-1", "own layers", "digest sha256:", "only a newer tag"} {
		assert.Contains(t, details, want)
	}
	b.open("/dev/null", "")
	b.open(file, "#base/golang-1-26-bookworm")
	assert.Regexp(t, `Fixes\s+Adds[\s\S]*CVE-2026-1500 \(openssl\)`, eval[string](b, `document.getElementById("panel").innerText`))
	b.quiet()
}

func TestGraph(t *testing.T) {
	b := newTab(t)
	b.open(write(t, sample.Options{Images: 30}), "")
	const said = `document.getElementById("graph-said").textContent`
	b.do(chromedp.SendKeys(chromedp.CSS("#graph-search"), "depot-api"+kb.Enter))
	assert.Regexp(t, `^depot-api: [a-z ]+; built on \d+, used by \d+$`, eval[string](b, said))

	// It is drawn, and what is found is in the middle: a click there selects it again.
	b.do(chromedp.Click(chromedp.CSS("#graph-clear")))
	assert.Empty(t, eval[string](b, said))
	b.do(chromedp.ScrollIntoView(chromedp.CSS("#graph-canvas")), chromedp.Click(chromedp.CSS("#graph-canvas")))
	assert.Regexp(t, `^depot-api:`, eval[string](b, said))
	assert.True(t, eval[bool](b, `(() => { const c = document.getElementById("graph-canvas"); return new Set(c.getContext("2d").getImageData(0, 0, c.width, c.height).data).size > 10; })()`))

	// Arrows go on, Enter opens the details, a button comes back.
	b.do(chromedp.Focus(chromedp.CSS("#graph-canvas")))
	b.press(kb.ArrowLeft)
	assert.NotRegexp(t, `^depot-api:`, eval[string](b, said))
	b.press("+")
	b.press("0")
	b.press(kb.Enter)
	assert.False(t, eval[bool](b, `document.getElementById("panel").hidden`))
	b.do(chromedp.Click(chromedp.CSS("#panel p:last-child button")))
	assert.True(t, eval[bool](b, `document.getElementById("panel").hidden`))
	b.quiet()
}

// TestKeyboard: the first stop is the link to the content, and every stop is visible and has a name.
func TestKeyboard(t *testing.T) {
	b := newTab(t)
	b.open(write(t, sample.Options{Images: 5}), "")
	b.press(kb.Tab)
	assert.Equal(t, "skip", eval[string](b, "document.activeElement.className"))
	b.press(kb.Enter)
	assert.Equal(t, "main", eval[string](b, "document.activeElement.id"))
	for range 25 {
		b.press(kb.Tab)
		state := eval[string](b, `(() => {
			const e = document.activeElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
			const name = e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || (e.labels && e.labels.length && e.labels[0].textContent);
			return !name ? "no name: " + e.outerHTML : r.width === 0 ? "not visible: " + e.outerHTML : s.outlineStyle === "none" ? "no focus ring: " + e.outerHTML : "";
		})()`)
		assert.Empty(t, state)
	}
	b.quiet()
}

// TestAccessibility: axe-core finds nothing, in light and dark, with the details open, and on a phone.
func TestAccessibility(t *testing.T) {
	axe, err := os.ReadFile(program(t, "AXE"))
	require.NoError(t, err)
	file := write(t, sample.Options{Images: 15, Findings: 6})
	for name, prepare := range map[string]func(*tab){
		"light": func(b *tab) { b.open(file, "") },
		"dark":  func(b *tab) { b.prefer("prefers-color-scheme", "dark"); b.open(file, "") },
		"details": func(b *tab) {
			b.open(file, "#image/login-api")
		},
		"dark details": func(b *tab) { b.prefer("prefers-color-scheme", "dark"); b.open(file, "#base/node-22-slim") },
		"phone":        func(b *tab) { b.do(chromedp.EmulateViewport(390, 844)); b.open(file, "") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newTab(t)
			prepare(b)
			_, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](string(axe)+"; 0"))
			require.NoError(t, err)
			found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`axe.run().then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 200) + ": " + n.failureSummary)))`, chromedp.EvalAwaitPromise))
			require.NoError(t, err)
			assert.Empty(t, found)
			passed, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`axe.run().then((r) => r.passes.length)`, chromedp.EvalAwaitPromise))
			require.NoError(t, err)
			assert.Greater(t, passed, 20)
			if name == "phone" {
				assert.Equal(t, 390, eval[int](b, "document.documentElement.scrollWidth"), "the page does not scroll sideways")
			}
		})
	}
}

// TestHostile: texts from outside stay text, wherever they are shown, and lead nowhere but to web pages.
func TestHostile(t *testing.T) {
	b := newTab(t)
	text := "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>\u2028\u2029\u202e<!--<script> ${alert(4)} "
	b.open(write(t, sample.Options{Images: 40, Findings: 3, Text: text, RunURL: "javascript:alert(5)//https://example.com"}), "")
	assert.Equal(t, 2, eval[int](b, "document.scripts.length"))
	opened := eval[int](b, `(() => {
		let n = 0;
		for (const a of document.querySelectorAll("tbody a[href^='#image/'], tbody a[href^='#base/']")) {
			a.click();
			n += document.getElementById("panel").innerText.includes("<img src=x onerror=alert(2)>");
			for (const l of document.querySelectorAll("a")) if (!/^(#|https:\/\/github.com\/)/.test(l.getAttribute("href"))) throw new Error(l.outerHTML);
			if (document.querySelector("img, iframe, object, svg[onload]")) throw new Error("markup");
		}
		return n;
	})()`)
	assert.Positive(t, opened, "the text is shown")
	assert.Contains(t, eval[string](b, `document.getElementById("t-images").innerText`), "<img src=x onerror=alert(2)>")
	b.quiet()

	// What somebody injected all the same would not run, nor send anything.
	assert.Equal(t, "undefined", eval[string](b, `(() => {
		const s = document.createElement("script");
		s.textContent = "window.injected = 1";
		document.body.append(s);
		const i = document.createElement("img");
		i.src = "https://example.com/x.png";
		document.body.append(i);
		return typeof window.injected;
	})()`))
	b.do(chromedp.Sleep(200 * time.Millisecond))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		assert.Contains(t, p, "Content Security Policy")
	}
	assert.NotEmpty(t, b.problems)
}

// TestWithoutScript: all rows are visible, and nothing that needs the script is.
func TestWithoutScript(t *testing.T) {
	b := newTab(t)
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.NoError(t, err)
	b.open(write(t, sample.Options{Images: 250}), "")
	last, err := chromedp.Run(b.ctx, chromedp.Dimensions(chromedp.CSS("#t-images tbody tr:last-child")))
	require.NoError(t, err)
	assert.Positive(t, last.Height)
	for _, hidden := range []string{".tools", "#graph-box", "#panel"} {
		_, err := chromedp.Run(b.ctx, chromedp.Dimensions(chromedp.CSS(hidden)))
		require.Error(t, err, hidden)
	}
	b.quiet()
}

// TestHeader: at the width of a small laptop, the links to all sections fit into one line.
func TestHeader(t *testing.T) {
	b := newTab(t)
	b.open(write(t, sample.Options{Images: 24, Findings: 6}), "")
	const lines = `new Set([...document.querySelectorAll("nav a")].map((a) => a.offsetTop)).size`
	assert.Equal(t, 8, eval[int](b, `document.querySelectorAll("nav a").length`))
	assert.Equal(t, 1, eval[int](b, lines))
	b.do(chromedp.EmulateViewport(390, 844))
	assert.Equal(t, 2, eval[int](b, lines))
	assert.LessOrEqual(t, eval[int](b, `document.documentElement.scrollWidth`), 390)
}

// TestPrint: all rows are printed, and no controls.
func TestPrint(t *testing.T) {
	b := newTab(t)
	b.open(write(t, sample.Options{Images: 250}), "")
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	require.NoError(t, err)
	assert.Equal(t, 250, eval[int](b, `[...document.querySelectorAll("#t-images tbody tr")].filter((r) => r.offsetParent).length`))
	assert.Zero(t, eval[int](b, `[...document.querySelectorAll("nav, .tools, .skip, .rest")].filter((e) => e.offsetParent).length`))
	pdf, err := chromedp.Run(b.ctx, chromedp.PrintToPDF())
	require.NoError(t, err)
	assert.Equal(t, "%PDF-", string(pdf[:5]))
	b.quiet()
}

// TestLarge: the page of 2000 images stays below 5 MB, or 5.5 MB with scans, and works. It logs how soon, and what that costs the main thread.
func TestLarge(t *testing.T) {
	file := write(t, sample.Options{Images: 2000})
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(5_000_000))
	scanned, err := os.Stat(write(t, sample.Options{Images: 2000, Findings: 50}))
	require.NoError(t, err)
	assert.Less(t, scanned.Size(), int64(5_500_000), "with 100000 findings")
	b := newTab(t)
	_, err = chromedp.Call(b.ctx, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	require.NoError(t, err)
	_, err = chromedp.Call(b.ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{
		Source: `window.tasks = []; new PerformanceObserver((l) => tasks.push(...l.getEntries().map((e) => Math.round(e.duration)))).observe({ type: "longtask", buffered: true })`,
	})
	require.NoError(t, err)
	b.open(file, "")
	assert.Equal(t, 2000, eval[int](b, `document.querySelectorAll("#t-images tbody tr").length`))
	b.do(chromedp.SendKeys(chromedp.CSS("#graph-search"), "depot-api"+kb.Enter))
	assert.Regexp(t, `^depot-api:`, eval[string](b, `document.getElementById("graph-said").textContent`))
	b.do(chromedp.Sleep(time.Second))
	t.Logf("%d bytes; first paint after %d ms, script done after %d ms, graph searched after %d ms", info.Size(),
		eval[int](b, "Math.round((performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime || -1)"),
		eval[int](b, "Math.round(performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd)"), eval[int](b, "Math.round(performance.now())"))
	t.Logf("long tasks in ms: %v", eval[[]int](b, "tasks"))
	t.Logf("CPU time of the main thread: %s", b.mainThread())
	b.quiet()
}

// mainThread returns the CPU time that the main thread spent on the page, whatever else the machine did.
func (b *tab) mainThread() string {
	b.Helper()
	r, err := chromedp.Call(b.ctx, performance.GetMetrics, cdp.Empty{})
	require.NoError(b, err)
	var out []string
	for _, m := range r.Metrics {
		if what, ok := strings.CutSuffix(m.Name, "Duration"); ok {
			out = append(out, fmt.Sprintf("%s %.0f ms", what, m.Value*1000))
		}
	}
	return strings.Join(out, ", ")
}
