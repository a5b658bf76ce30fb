package targets_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/targets"
)

// anywhere lets everything be sent to that any policy would.
var anywhere = deliver.Policy{AllowHTTP: true, AllowPrivate: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}

var inboxURLs = []string{
	"https://lemmy.example/inbox", "HTTPS://Lemmy.Example.:443/inbox#x", "https://lemmy.example:80/inbox", "https://lemmy.example:/inbox",
	"http://lemmy.example:80/inbox", "http://lemmy.example:443/", "https://lemmy.example:0443/", "https://lemmy.example:08443/",
	"https://bücher.example/?a=b", "https://BÜCHER.example:8443", "https://I❤.ws", "https://b%C3%BCcher.example/", "https://my_host.r3---a.example/%2F/a%20b?q=1",
	"https://faß.example/", "https://xn--fa-hia.example/", "https://ａ。example/", "https://a.example。/", "https://xn--a.example/", "https://\u200d.example/",
	"https://1.1.1.1/inbox", "https://[2606:4700::0:1]/inbox", "https://[2606:4700::1]:443/", "http://localhost:80/inbox", "http://127.0.0.1:8536/",
	"https://[::1]:8443/", "https://[::ffff:10.0.0.1]/", "https://[::ffff:10.0.0.1%25eth0]/", "https://[fe80::1%25eth0]/", "https://１２７.0.0.1/", "https://169.254.169.254/latest",
	"", "inbox", "://", "//a.example/inbox", "ftp://a.example/", "javascript:alert(1)", "mailto:a@a.example", "https:a.example", "https:///inbox", "https://:443/",
	"https://user:hunter2@a.example/inbox", "https://@a.example/", "https://a.example:0/", "https://a.example:99999/", "https://a.example:x/", "https://a..example/", "https://a.example../",
	"https://./", "https://-a.example/", "https://a b.example/", "https://a\x00.example/", "https://a,b.example/", "https://a.example\\b/", "https://a.example\r\nHost:b/",
	"https://" + strings.Repeat("a.", 127) + "example/", "https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a.", 126) + "b/",
	"https://127.1/", "https://2130706433/", "https://0x7f.0x1/", "https://a.0x/", "https://a.LOCALHOST./", "https://a.example/" + strings.Repeat("a", 5000), "https://ⅷ.example/",
}

func TestDomainOf_AgreesWithWhereIsSentTo(t *testing.T) {
	good := 0
	for _, raw := range inboxURLs {
		if agree(t, raw) {
			good++
		}
	}
	if good < 20 || good > len(inboxURLs)-20 {
		t.Errorf("%d of %d are good: the table has lost its point", good, len(inboxURLs))
	}
}

func TestDomainOf_NeverRepeatsAPassword(t *testing.T) {
	for _, raw := range []string{
		"https://user:hunter2@a.example/inbox", "https://user:hunter2/@a.example/inbox", "https://user:hunter2 @a.example/inbox",
		"https://user:x@hunter2@a.example/inbox", "ftp://user:hunter2@a.example/inbox", "//user:hunter2@a.example/inbox",
	} {
		if _, err := targets.DomainOf(raw); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("of %s it says %v", raw, err)
		}
	}
}

func TestWithoutUser_LeavesTheRest(t *testing.T) {
	for raw, want := range map[string]string{
		"https://user:hunter2@a.example:8443/@me/inbox?x=y@z": "https://a.example:8443/@me/inbox?x=y@z",
		"https://a.example/@me/inbox":                         "https://a.example/@me/inbox",
		"https://a.example":                                   "https://a.example",
		"https://hunter2@a.example":                           "https://a.example",
		"https://user:hunter2/x@a.example/inbox":              "https://…@a.example/inbox",
		"https://no host/inbox":                               "https://no host/inbox",
		"mailto:me@a.example":                                 "mailto:me@a.example",
		"":                                                    "",
	} {
		if got := targets.WithoutUser(raw); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
	}
}

func FuzzDomainOf(f *testing.F) {
	for _, raw := range inboxURLs {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !agree(t, raw) {
			return
		}
		// Who makes an instance of an unknown domain finds it the next time.
		domain, _ := targets.DomainOf(raw)
		x := targets.New()
		x.SetInstance(targets.Instance{ID: 1, Domain: domain})
		if id, _ := x.ByDomain(domain); id != 1 {
			t.Fatalf("%q doesn't find itself", domain)
		}
		unknown, bad := x.Targets(targets.Query{Inboxes: []string{raw}}, nil, func(int32, []targets.Inbox) {})
		if len(unknown)+len(bad) > 0 {
			t.Fatalf("%q of %q is unknown to its own instance", raw, domain)
		}
		if strings.ContainsAny(domain, " /@?#\t\r\n") || domain != strings.ToLower(domain) {
			t.Fatalf("%q can't be in a row", domain)
		}
	})
}

// agree checks that DomainOf is the host that deliver would send to, and errs when that does.
func agree(t *testing.T, raw string) (ok bool) {
	t.Helper()
	domain, err := targets.DomainOf(raw)
	u, refused := anywhere.CheckInbox(raw)
	switch {
	case (err != nil) != (refused != nil):
		t.Errorf("%q: domain %q, %v; but deliver says %v, %v", raw, domain, err, u, refused)
	case err == nil && domain != u.Host:
		t.Errorf("%q: domain %q, but it is sent to %q", raw, domain, u.Host)
	}
	return err == nil
}
