package outcomes

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/worker"
)

// wantOneBadAmongGood delivers three activities, of which the second can't be sent, and looks at it for a year.
func wantOneBadAmongGood(r *rig, words ...string) {
	r.Helper()
	r.run(0)
	wantEqual(r, "tries", len(r.tries), 3)
	r.run(365 * day)
	wantEqual(r, "tries after a year", len(r.tries), 3)
	for _, l := range r.wantLetters(2) {
		wantReason(r, l.Reason, words...)
		wantEqual(r, "attempts", l.Attempts, 0)
		wantEqual(r, "status", l.HTTPStatus, 0)
		wantEqual(r, "inbox", l.Inbox, r.all[1].inboxes[0].URL)
		wantEqual(r, "first at", l.FirstAt, epoch)
		wantEqual(r, "last at", l.LastAt, epoch)
	}
	wantEqual(r, "failures", r.State().FailCount, 0)
	r.wantAllDelivered(2)
}

// badInboxes are inboxes to which nothing may be sent, each with words of the reason.
func badInboxes() map[string]string {
	long := "https://" + strings.Repeat(strings.Repeat("a", 49)+".", 6) + "example/inbox"
	return map[string]string{
		"https://10.0.0.1/inbox":                            "the inbox address 10.0.0.1 is not public",
		"https://192.168.178.1/inbox":                       "not public",
		"https://172.16.0.1/inbox":                          "not public",
		"https://100.64.0.1/inbox":                          "not public",
		"https://169.254.169.254/latest/meta-data":          "not public",
		"https://127.0.0.1/inbox":                           "not public",
		"https://0.0.0.0/inbox":                             "not public",
		"https://224.0.0.1/inbox":                           "not public",
		"https://[::1]/inbox":                               "the inbox address ::1 is not public",
		"https://[::]/inbox":                                "not public",
		"https://[fd00::1]/inbox":                           "not public",
		"https://[fe80::1]/inbox":                           "not public",
		"https://[fe80::1%25eth0]/inbox":                    "zone",
		"https://[::ffff:127.0.0.1]/inbox":                  "not public",
		"https://[64:ff9b::a00:1]/inbox":                    "not public",
		"https://2130706433/inbox":                          "not a valid domain name",
		"https://0x7f.1/inbox":                              "not a valid domain name",
		"https://127.1/inbox":                               "not a valid domain name",
		"https://localhost/inbox":                           "this machine",
		"https://LOCALHOST./inbox":                          "this machine",
		"https://db.localhost/inbox":                        "this machine",
		"https://toad.example:22/inbox":                     "port 22",
		"https://toad.example:5432/inbox":                   "port 5432",
		"https://toad.example:0/inbox":                      "port",
		"https://toad.example:99999/inbox":                  "port",
		"http://toad.example/inbox":                         "SENDER_ALLOW_HTTP",
		"javascript:alert(1)":                               "not an https URL",
		"ftp://toad.example/inbox":                          "not an https URL",
		"file:///etc/passwd":                                "not an https URL",
		"//toad.example/inbox":                              "not an https URL",
		"toad.example/inbox":                                "not an https URL",
		"":                                                  "the inbox is empty",
		"https://":                                          "no host",
		"https:toad.example":                                "no host",
		"https://bob:hunter2@toad.example/inbox":            "user name",
		"http://bob:hunter2@toad.example/inbox":             "user name",
		"https://bob:hunter2 @toad.example/inbox":           "not a URL",
		"https://toad..example/inbox":                       "not a valid domain name",
		"https://to ad.example/inbox":                       "not a URL",
		"https://toad.example/\r\nX-Evil: 1":                "not a URL",
		"https://toad.example/%zz":                          "not a URL",
		long:                                                "not a valid domain name",
		"https://toad.example/" + strings.Repeat("x", 5000): "longer than 4096",
	}
}

func TestUnusable_AnInboxWhereNothingMayBeSentIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	for inbox, words := range badInboxes() {
		r := newRig(t, deliver.Config{})
		for _, url := range []string{shared, inbox, shared} {
			r.insert(activity{inboxes: []worker.Inbox{{URL: url, Shared: true}}})
		}
		wantOneBadAmongGood(r, words)
		wantReasonWithout(t, r.letters[0].Reason, "hunter2")
		if t.Failed() {
			t.Fatalf("this was about the inbox %q", inbox)
		}
	}
}

func TestUnusable_ANameOfAPrivateAddressIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"inside.example": "10.0.0.1", "metadata.example": "169.254.169.254", "loopback.example": "127.0.0.1",
	} {
		r := newRig(t, deliver.Config{})
		r.useDirectClient(deliver.Config{}) // to public addresses only
		r.insert(activity{inboxes: []worker.Inbox{{URL: "https://" + name + "/inbox", Shared: true}}})
		r.run(365 * day)
		r.wantTries("0s #1 unusable")
		for _, l := range r.wantLetters(1) {
			wantReason(t, l.Reason, name, "no address that may be sent to", address)
		}
		r.wantSettled()
		wantEqual(t, "failures", r.State().FailCount, 0)
	}
}

func TestUnusable_ANameThatMovedToAPrivateAddressIsCaughtBesideGoodOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	// toad.example may be where the fediverse is; inside.example may not be where it is.
	r.useDirectClient(deliver.Config{Policy: deliver.Policy{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	_, port, err := net.SplitHostPort(r.net.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{domain, "inside.example", domain} {
		r.insert(activity{inboxes: []worker.Inbox{{URL: "https://" + net.JoinHostPort(host, port) + "/inbox", Shared: true}}})
	}
	wantOneBadAmongGood(r, "inside.example:"+port+" has no address that may be sent to", "10.0.0.1")
}

func TestUnusable_AnActivityThatCannotBePreparedIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	object := func(length int) string {
		return `{"id":"x","content":"` + strings.Repeat("x", length) + `"}`
	}
	for name, c := range map[string]struct {
		activity
		words string
	}{
		"no key":                       {activity{pem: " "}, "is not PEM"},
		"a broken key":                 {activity{pem: strings.Replace(rsaPEM(), "MII", "AAA", 1)}, "is not a valid PKCS#8 key"},
		"half a key":                   {activity{pem: rsaPEM()[:400]}, "is not PEM"},
		"a key id that breaks out":     {activity{keyID: `https://sender.example/u",headers="date`}, "can't stand in a Signature header"},
		"a key id with a line break":   {activity{keyID: "https://sender.example/u\r\nX-Evil: 1"}, "can't stand in a Signature header"},
		"a body of 2 MiB":              {activity{body: object(2 << 20)}, "longer than 1048576 bytes"},
		"a body that is an array":      {activity{body: `[{"id":"x"}]`}, "not a JSON object"},
		"a body that is a string":      {activity{body: `"x"`}, "not a JSON object"},
		"a body that is no JSON":       {activity{body: `{"id":`}, "not a JSON object"},
		"a body of blanks":             {activity{body: "  \n"}, "not a JSON object"},
		"a body with something behind": {activity{body: `{"id":"x"} {"id":"y"}`}, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, deliver.Config{})
			r.insert(activity{})
			r.insert(c.activity)
			r.insert(activity{})
			wantOneBadAmongGood(r, c.words)
			wantReasonWithout(t, r.letters[0].Reason, "MII")
		})
	}
}

func TestUnusable_LetsTheConflictingOneGoAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, deliver.Config{})
	r.insert(activity{object: "https://sender.example/notes/1", inboxes: []worker.Inbox{{URL: "https://10.0.0.1/inbox"}, {URL: shared, Shared: true}}})
	r.insert(activity{object: "https://sender.example/notes/1"})
	r.run(day)
	r.wantTries("0s #1 unusable", "0s #1 202 delivered", "0s #2 202 delivered")
	r.wantLetters(1)
	expected := fediverse.Expected{}
	expected.Add(shared, nameOf(1), nameOf(2))
	r.wantVerdict(expected)
	r.wantSettled()
}
