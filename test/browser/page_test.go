package browser

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axe judges accessibility (deque's axe-core, see testdata/axe-LICENSE.txt).
//
//go:embed testdata/axe.min.js
var axe string

// violations are what axe finds on the page that is shown, in a line each.
func violations(ctx context.Context) ([]string, error) {
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](axe)); err != nil {
		return nil, err
	}
	return chromedp.Run(ctx, chromedp.Evaluate[[]string](`
		axe.run(document, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }).then((found) =>
			found.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target + ": " + n.failureSummary)))`, chromedp.EvalAwaitPromise))
}

func TestPage_InARealBrowser(t *testing.T) {
	w := newWorld(t, 150, 2)
	ctx := browser(t)
	steps := []struct {
		name string
		run  func(*testing.T, context.Context, *world)
	}{
		{"signing in", signsIn},
		{"hostile text stays text", staysText},
		{"axe finds nothing", isAccessible},
		{"nothing is wider than a phone", fitsAPhone},
		{"Tab reaches everything, and one sees where", tabsThrough},
		{"a person with a keyboard filters, pauses and resumes", pausesAndResumes},
		{"what is looked at changes by itself and keeps the focus", changesByItself},
		{"dead letters are dropped in bulk", dropsInBulk},
		{"charts are kept, and made anew in other colours", keepsCharts},
		{"it works without JavaScript", worksWithoutJavaScript},
	}
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, 5*patience)
			defer cancel()
			defer shows(t, ctx)
			step.run(t, ctx, w)
		}) {
			return
		}
	}
}

// shows says what is on the page where a test has failed.
func shows(t *testing.T, ctx context.Context) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 2000)`))
	t.Logf("%s %v", text, err)
}

func signsIn(t *testing.T, ctx context.Context, w *world) {
	ok(t, chromedp.Do(ctx, size(1440, 900, false), chromedp.Navigate(w.base+"/instances?state=failing"), until(`location.pathname === "/login"`)))
	ok(t, chromedp.Do(ctx, chromedp.SendKeys("#token", "wrong\r"), until(`document.querySelector("[role=alert]")?.textContent.includes("not the token")`)))
	ok(t, chromedp.Do(ctx, chromedp.SendKeys("#token", token+"\r"), until(`location.pathname + location.search === "/instances?state=failing"`)))
	cookie, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.cookie`))
	ok(t, err)
	if cookie != "" {
		t.Errorf("a script sees the session: %s", cookie)
	}
}

func staysText(t *testing.T, ctx context.Context, w *world) {
	for name, path := range w.pages(t) {
		ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+path), drawn()))
		ran, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`"pwned" in window || document.querySelectorAll("main img, main script").length > 0`))
		ok(t, err)
		if ran {
			t.Errorf("%s: text of a server became a part of the page", name)
		}
	}
}

func isAccessible(t *testing.T, ctx context.Context, w *world) {
	checked := 0
	for _, s := range screens {
		for _, shade := range []string{"light", "dark"} {
			ok(t, chromedp.Do(ctx, size(s.width, s.height, s.phone), scheme(shade)))
			for name, path := range w.pages(t) {
				if s.phone && !onPhone[name] {
					continue
				}
				ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+path), drawn()))
				found, err := violations(ctx)
				ok(t, err)
				for _, v := range found {
					t.Errorf("%s, %s, %s: %s", name, s.name, shade, v)
				}
				checked++
			}
		}
	}
	t.Logf("axe-core found nothing on %d pages", checked)
	ok(t, chromedp.Do(ctx, size(1440, 900, false), scheme("light")))
}

// smallPhone is the width of the narrowest that many people have, in the pixels of style sheets.
const smallPhone = 360

func fitsAPhone(t *testing.T, ctx context.Context, w *world) {
	ok(t, chromedp.Do(ctx, size(smallPhone, 740, true)))
	for name, path := range w.pages(t) {
		ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+path), drawn()))
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[int](`(e => Math.max(e.scrollWidth - e.clientWidth, e.scrollWidth - `+strconv.Itoa(smallPhone)+`))(document.documentElement)`))
		ok(t, err)
		if wide > 0 {
			t.Errorf("%s is %d pixels wider than a phone", name, wide)
		}
	}
	ok(t, chromedp.Do(ctx, size(1440, 900, false)))
}

// onPhone are the pages that are laid out otherwise on a phone.
var onPhone = map[string]bool{"overview": true, "instances": true, "instance-failing": true, "dead-letters": true, "processes": true, "pause": true, "trace": true}

// focused tells what is wrong with what has the focus; empty: nothing, and been counts it.
const focused = `(() => {
	const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect(), top = document.elementFromPoint(r.left + 3, r.top + Math.min(r.height, 20) / 2);
	window.been = (window.been ?? new Set()).add(e);
	if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2) return "no outline: " + e.outerHTML;
	return top && (e.contains(top) || top.contains(e)) ? "" : "out of sight: " + e.outerHTML;
})()`

// tab presses the key and checks that one sees where the focus is.
func tab(t *testing.T, ctx context.Context) {
	t.Helper()
	ok(t, chromedp.Do(ctx, press("\t")))
	wrong, err := chromedp.Run(ctx, chromedp.Evaluate[string](focused))
	ok(t, err)
	if wrong != "" {
		t.Error(wrong)
	}
}

// tabTo presses Tab until an element has the focus.
func tabTo(t *testing.T, ctx context.Context, selector string) {
	t.Helper()
	for range 50 {
		tab(t, ctx)
		there, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.activeElement.matches(`+strconv.Quote(selector)+`)`))
		ok(t, err)
		if there {
			return
		}
	}
	t.Fatalf("Tab does not lead to %s", selector)
}

func tabsThrough(t *testing.T, ctx context.Context, w *world) {
	paths := w.pages(t)
	for _, name := range []string{"overview", "failing", "instance-failing", "pause", "replay", "dead-letters", "dead-letter", "processes", "trace"} {
		ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+paths[name]), drawn()))
		const all = `[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter((e) => e.type !== "hidden" && e.checkVisibility())`
		n, err := chromedp.Run(ctx, chromedp.Evaluate[int](all+`.length`))
		ok(t, err)
		for range n {
			tab(t, ctx)
		}
		missed, err := chromedp.Run(ctx, chromedp.Evaluate[string](all+`.filter((e) => !been.has(e)).map((e) => e.outerHTML).join("\n")`))
		ok(t, err)
		if missed != "" {
			t.Errorf("%s: Tab does not reach\n%s", name, missed)
		}
	}
}

// press is a key of the keyboard.
func press(keys string) chromedp.Action[chromedp.Void] { return chromedp.KeyEvent(keys) }

func pausesAndResumes(t *testing.T, ctx context.Context, w *world) {
	ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+"/instances"),
		chromedp.Evaluate[chromedp.Void](`document.dispatchEvent(new KeyboardEvent("keydown", { key: "/" }))`), until(`document.activeElement.id === "q"`),
		press("i-00000"), press("\r"),
		until(`document.querySelectorAll("tbody tr").length === 1 && document.querySelector("tbody th a").textContent === "`+fine+`"`),
	))
	tabTo(t, ctx, "tbody th a")
	ok(t, chromedp.Do(ctx, press("\r"), until(`document.readyState === "complete" && document.querySelector("h1").textContent === "`+fine+`"`)))
	tabTo(t, ctx, `a[href^="/instance/pause"]`)
	ok(t, chromedp.Do(ctx, press("\r"), until(`document.readyState === "complete" && document.querySelector("h1").textContent === "Pause `+fine+`?"`)))
	w.no(t, `select count(*) from fedsender.instance_control c join fedsender.instance i on i.id = c.instance_id where i.domain = '`+fine+`'`)
	tabTo(t, ctx, "#pick")
	ok(t, chromedp.Do(ctx, press("6"), until(`document.activeElement.value === "6h"`))) // the letters of a choice choose it
	tabTo(t, ctx, "form[method=post] button.main")
	ok(t, chromedp.Do(ctx, press("\r"),
		until(`document.querySelector("[role=status].notice")?.textContent.includes("is paused until 20")`),
		until(`document.querySelector("#why").textContent.includes("paused")`),
	))
	tabTo(t, ctx, `a[href^="/instance/resume"]`)
	ok(t, chromedp.Do(ctx, press("\r"), until(`document.readyState === "complete" && document.querySelector("h1").textContent === "Resume `+fine+`?"`)))
	tabTo(t, ctx, "form[method=post] button.main")
	ok(t, chromedp.Do(ctx, press("\r"),
		until(`document.querySelector("[role=status].notice")?.textContent.includes("is resumed")`)))
	if log := w.senders[0].Log(); !strings.Contains(log, `"action":"pause","instance":"`+fine+`"`) || strings.Contains(log, token) {
		t.Error("the log does not say who paused it, or says too much")
	}
}

func changesByItself(t *testing.T, ctx context.Context, w *world) {
	ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+"/instances?state=paused"), chromedp.Focus("tbody th a"),
		chromedp.Evaluate[chromedp.Void](`window.kept = document.querySelector("tbody tr")`)))
	_, err := w.DB.Exec(ctx, `select fedsender.pause('i-00001.example')`)
	ok(t, err)
	ok(t, chromedp.Do(ctx, until(`[...document.querySelectorAll("tbody th a")].some((a) => a.textContent === "i-00001.example")`),
		until(`document.querySelector("tbody tr") === window.kept && document.activeElement.matches("tbody th a")`)))
	_, err = w.DB.Exec(ctx, `select fedsender.resume('i-00001.example')`)
	ok(t, err)
}

func keepsCharts(t *testing.T, ctx context.Context, w *world) {
	ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+"/"), until(`document.querySelectorAll(".uplot").length === 3`),
		chromedp.Evaluate[chromedp.Void](`window.kept = document.querySelector(".uplot"); window.wide = kept.clientWidth`),
		size(700, 900, false), until(`kept.isConnected && kept.clientWidth !== wide`),
		scheme("dark"), until(`!kept.isConnected && document.querySelectorAll(".uplot").length === 3`),
		size(1440, 900, false), scheme("light")))
}

func dropsInBulk(t *testing.T, ctx context.Context, w *world) {
	before := w.count(t, `select count(*) from fedsender.dead_letter`)
	ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+"/dead-letters"),
		until(fmt.Sprintf(`document.querySelectorAll("input[name=id]").length === %d`, min(100, before))),
		chromedp.Click("#tick-all"), chromedp.Click("input[name=id]"), // all but the first
		chromedp.Click(`button[formaction="/dead-letters/drop"]`),
		until(fmt.Sprintf(`document.querySelector("h1").textContent.startsWith("Drop %d dead letter")`, min(100, before)-1)),
		chromedp.Click("form[method=post] button.danger"),
		until(`document.querySelector("[role=status].notice")?.textContent.includes("dropped")`)))
	if left := w.count(t, `select count(*) from fedsender.dead_letter`); left != before-min(100, before)+1 {
		t.Errorf("%d are left of %d", left, before)
	}
}

func worksWithoutJavaScript(t *testing.T, ctx context.Context, w *world) {
	ok(t, chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	})))
	has := func(path, what string) {
		t.Helper()
		ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+path)))
		text, err := chromedp.Run(ctx, chromedp.TextContent("main"))
		ok(t, err)
		if !strings.Contains(text, what) {
			t.Errorf("%s does not show %q", path, what)
		}
	}
	has("/", "150 instances")
	has("/", "Failed, tried again") // the table of what the charts show
	has("/instances?state=failing&sort=domain", failing)
	has("/instance?domain="+failing, "502 Bad Gateway: upstream is down")
	has("/processes", w.senders[0].Name)
	has("/trace?id="+url.QueryEscape(w.hostileActivity(t)), refusing)
	has("/instance/skip?domain="+failing, "left out")
	ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+"/instance/limit?domain="+fine), chromedp.SendKeys("#number", "3"),
		chromedp.Click("form[method=post] button.main"), chromedp.WaitVisible("[role=status].notice")))
	if n := w.count(t, `select max_in_flight from fedsender.instance_control c join fedsender.instance i on i.id = c.instance_id where i.domain = '`+fine+`'`); n != 3 {
		t.Errorf("the limit is %d", n)
	}
}

// no fails where a query counts anything.
func (w *world) no(t *testing.T, sql string) {
	t.Helper()
	if n := w.count(t, sql); n != 0 {
		t.Errorf("%d: %s", n, sql)
	}
}
