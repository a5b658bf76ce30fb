package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/fedsender/fedsender/test/fleet"
)

// scheme has the browser ask for the dark or the light page.
func scheme(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		})
		return err
	})
}

// screens are the sizes of pictures: a desk and a phone.
var screens = []struct {
	name          string
	width, height int64
	phone         bool
}{{"desktop", 1440, 900, false}, {"phone", 390, 844, true}}

// pages are all there are, by what a picture of each is called.
func (w *world) pages(t *testing.T) map[string]string {
	t.Helper()
	var letter int64
	ok(t, w.DB.QueryRow(t.Context(), `select max(id) from fedsender.dead_letter`).Scan(&letter))
	q := url.QueryEscape
	return map[string]string{
		"overview": "/", "instances": "/instances", "failing": "/instances?state=failing&sort=next",
		"instance-failing": "/instance?domain=" + failing, "instance-fine": "/instance?domain=" + fine, "instance-dead": "/instance?domain=" + dead,
		"instance-paused": "/instance?domain=" + paused, "instance-hostile": "/instance?domain=" + q(hostile),
		"pause": "/instance/pause?domain=" + failing, "replay": "/instance/replay?domain=" + fine, "skip": "/instance/skip?domain=" + failing, "limit": "/instance/limit?domain=" + fine,
		"dead-letters": "/dead-letters", "dead-letter": fmt.Sprintf("/dead-letter?id=%d", letter), "drop": "/dead-letters/drop?all=yes",
		"processes": "/processes", "trace": "/trace?id=" + q(w.hostileActivity(t)), "nothing": "/instance?domain=nowhere.example",
	}
}

func TestPage_Pictures(t *testing.T) {
	dir := os.Getenv("FEDSENDER_SCREENSHOTS")
	if dir == "" {
		t.Skip("FEDSENDER_SCREENSHOTS names no folder")
	}
	ok(t, os.MkdirAll(dir, 0o755))
	w := newWorld(t, 3000, 3)
	w.wait(t.Context(), t, "most have all", `select count(*) filter (where state = 'ok') * 10 > count(*) * 8 from fedsender.instance_status`)
	ctx := browser(t)
	picture := func(name string) {
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		ok(t, err)
		ok(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
	}
	ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+"/login")))
	for _, s := range screens {
		for _, shade := range []string{"light", "dark"} {
			ok(t, chromedp.Do(ctx, size(s.width, s.height, s.phone), scheme(shade), chromedp.Navigate(w.base+"/login")))
			if shade == "light" && s.name == "desktop" {
				picture("login-desktop-light")
				ok(t, signIn(ctx, w.base))
			}
			for name, path := range w.pages(t) {
				ok(t, chromedp.Do(ctx, chromedp.Navigate(w.base+path), drawn()))
				picture(name + "-" + s.name + "-" + shade)
			}
		}
	}
}

func size(width, height int64, phone bool) chromedp.Action[chromedp.Void] {
	options := []chromedp.EmulateViewportOption{chromedp.EmulateScale(1)}
	if phone {
		options = append(options, chromedp.EmulateMobile)
	}
	return chromedp.EmulateViewport(width, height, options...)
}

// drawn waits until the charts are there, on the page that has any.
func drawn() chromedp.Action[chromedp.Void] {
	return until(`document.readyState === "complete" && [...document.querySelectorAll("[data-chart]")].every(box => box.querySelector("canvas"))`)
}

func signIn(ctx context.Context, base string) error {
	return chromedp.Do(ctx,
		chromedp.Navigate(base+"/login"),
		chromedp.SendKeys("#token", token+"\r"),
		chromedp.WaitVisible(".figures"))
}

// until waits until a script says yes. It asks again and again, because a question that a page is asked while it comes is lost.
func until(script string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		return fleet.Until(ctx, script, func() (bool, error) {
			yes, err := chromedp.Evaluate[bool](script)(ctx, tab)
			return err == nil && yes, nil
		})
	})
}
