package deliver_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/deliver"
)

func TestCheckInbox_MakesTheURLThatIsSentTo(t *testing.T) {
	open := deliver.Policy{}
	closed := deliver.Policy{RefusePorts: true}
	lab := deliver.Policy{AllowHTTP: true, AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	for _, c := range []struct {
		policy    deliver.Policy
		raw, want string
	}{
		{open, "https://lemmy.example/inbox", "https://lemmy.example/inbox"},
		{open, "HTTPS://Lemmy.Example.:443/inbox#x", "https://lemmy.example/inbox"},
		{open, "https://lemmy.example:80/inbox", "https://lemmy.example:80/inbox"},
		{open, "https://lemmy.example:/inbox", "https://lemmy.example/inbox"},
		{open, "https://bücher.example/?a=b", "https://xn--bcher-kva.example/?a=b"},
		{open, "https://I❤.ws", "https://xn--i-7iq.ws/"},
		{open, "https://my_host.r3---a.example/%2F/a%20b?q=1&é", "https://my_host.r3---a.example/%2F/a%20b?q=1&%C3%A9"},
		{open, "https://1.1.1.1/inbox", "https://1.1.1.1/inbox"},
		{open, "https://[2606:4700::0:1]/inbox", "https://[2606:4700::1]/inbox"},
		{closed, "https://lemmy.example:443/inbox", "https://lemmy.example/inbox"},
		{deliver.Policy{RefusePorts: true, AllowHTTP: true}, "http://lemmy.example:8536/inbox", "http://lemmy.example:8536/inbox"},
		{lab, "http://localhost:80/inbox", "http://localhost/inbox"},
		{lab, "http://127.0.0.1:8536/inbox", "http://127.0.0.1:8536/inbox"},
		{lab, "https://[::1]:8443/", "https://[::1]:8443/"},
	} {
		got, err := c.policy.CheckInbox(c.raw)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: got %v, %v; want %s", c.raw, got, err, c.want)
		}
	}
}

func TestCheckInbox_RefusesWhatCannotBeSentTo(t *testing.T) {
	for _, c := range []struct{ raw, words string }{
		{"", "empty"}, {"inbox", "not an https URL"}, {"://", "not a URL"}, {"ftp://a.example/", "not an https URL"},
		{"http://a.example/inbox", "http, which is not allowed"}, {"https:a.example", "no host"}, {"https:///inbox", "no host"},
		{"https://user:hunter2@a.example/inbox", "user name"}, {"https://a.example:8443/", "port 8443"}, {"https://a.example:0/", "no valid port"},
		{"https://a.example:99999/", "no valid port"}, {"https://a..example/", "valid domain"}, {"https://-a.example/", "valid domain"},
		{"https://a b.example/", "not a URL"}, {"https://a\x00.example/", "not a URL"}, {"https://a,b.example/", "valid domain"},
		{"https://" + strings.Repeat("a.", 127) + "example/", "valid domain"}, {"https://" + strings.Repeat("a", 64) + ".example/", "valid domain"},
		{"https://127.0.0.1/", "not public"}, {"https://10.1.2.3/", "not public"}, {"https://169.254.169.254/latest", "not public"},
		{"https://[::1]/", "not public"}, {"https://[::ffff:127.0.0.1]/", "not public"}, {"https://[fd00::1]/", "not public"}, {"https://0.0.0.0/", "not public"},
		{"https://[fe80::1%25eth0]/", "zone"}, {"https://127.1/", "valid domain"}, {"https://2130706433/", "valid domain"}, {"https://0x7f.0x1/", "valid domain"},
		{"https://１２７.0.0.1/", "not public"}, {"https://localhost/", "this machine"}, {"https://a.LOCALHOST./", "this machine"},
		{"https://a.example/" + strings.Repeat("a", 5000), "longer"},
	} {
		_, err := deliver.Policy{}.CheckInbox(c.raw)
		wantUnpreparable(t, err, c.words)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q repeats a password", err)
		}
	}
}

func TestCheckInbox_RefusesPortsWhereTheSourceHasNone(t *testing.T) {
	for _, raw := range []string{"https://a.example:80/inbox", "https://a.example:8443/inbox", "https://1.1.1.1:80/"} {
		_, err := deliver.Policy{RefusePorts: true}.CheckInbox(raw)
		wantUnpreparable(t, err, "names a port")
	}
}
