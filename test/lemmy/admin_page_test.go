package lemmy_test

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
)

const adminToken = "correct-horse-battery-staple"

// visitor is somebody who has signed in to the page of a sender.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func (s *scene) visit() *visitor {
	s.t.Helper()
	s.migrate()
	s.cluster.Env = []string{"SENDER_ADMIN_TOKEN=" + adminToken}
	address, err := s.start(1)[0].Admin(s.ctx)
	ok(s.t, err)
	jar, err := cookiejar.New(nil)
	ok(s.t, err)
	v := &visitor{s.t, "http://" + address, &http.Client{Jar: jar, Timeout: patience}}
	s.t.Cleanup(v.client.CloseIdleConnections)
	v.post("/login", url.Values{"token": {adminToken}})
	return v
}

// text is what an answer says, after redirects. It must be a page that lacks nothing.
func (v *visitor) text(path string, response *http.Response, err error) string {
	v.t.Helper()
	ok(v.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ok(v.t, err)
	if response.StatusCode != http.StatusOK || strings.Contains(string(body), "could not be read") {
		v.t.Errorf("%s: %s: %s", path, response.Status, words(string(body)))
	}
	return string(body)
}

func (v *visitor) get(path string) string {
	v.t.Helper()
	response, err := v.client.Get(v.base + path)
	return v.text(path, response, err)
}

func (v *visitor) post(path string, form url.Values) string {
	v.t.Helper()
	response, err := v.client.PostForm(v.base+path, form)
	return v.text(path, response, err)
}

// hidden are the fields of a confirmation that nobody fills in.
var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// confirm asks what an action would do, does it, with what was filled in (NAME, VALUE), and returns what the page said of both.
func (v *visitor) confirm(path string, filled ...string) (question, said string) {
	v.t.Helper()
	question = v.get(path)
	form := url.Values{}
	_, asked, _ := strings.Cut(question, `<form method="post" action="/instance`)
	if asked == "" {
		_, asked, _ = strings.Cut(question, `<form method="post" action="/dead-letters`)
	}
	for _, field := range hidden.FindAllStringSubmatch(asked, -1) {
		form.Add(field[1], html.UnescapeString(field[2]))
	}
	for i := 0; i < len(filled); i += 2 {
		form.Set(filled[i], filled[i+1])
	}
	path, _, _ = strings.Cut(path, "?")
	_, said, _ = strings.Cut(v.post(path, form), `<p class="notice ok" role="status">`)
	said, _, _ = strings.Cut(said, "</p>")
	return question, said
}

var tags = regexp.MustCompile(`<[^>]*>|\s+`)

// words are what a person reads of a page.
func words(page string) string {
	_, main, _ := strings.Cut(page, "<main")
	return tags.ReplaceAllString(main, " ")
}

// shows waits until a page says all of that: what it shows of the fleet is some seconds old.
func (v *visitor) shows(path string, wants ...string) {
	v.t.Helper()
	var text, missing string
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	err := fleet.Until(ctx, path, func() (bool, error) {
		text, missing = v.get(path), ""
		for _, want := range wants {
			if !strings.Contains(text, want) {
				missing = want
			}
		}
		return missing == "", nil
	})
	if err != nil {
		v.t.Fatalf("%s does not say %q: %s", path, missing, words(text))
	}
}

// does confirms an action and checks what the page said before and after.
func (v *visitor) does(path, question, said string, filled ...string) {
	v.t.Helper()
	asked, answer := v.confirm(path, filled...)
	if !strings.Contains(asked, question) {
		v.t.Errorf("%s does not say beforehand %q: %s", path, question, words(asked))
	}
	if !strings.Contains(answer, said) {
		v.t.Errorf("%s said %q, want %q", path, answer, said)
	}
}

func TestAdminPage_ShowsAndMovesLemmysQueue(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		s := newScene(t, line)
		s.lax = true // a replay sends again
		fine, failing := s.remote("fine.example"), s.remote("failing.example")
		s.fedi.Instance("failing.example").SetAnswer(fediverse.Explained(502, "text/plain", "upstream is down"))
		ok(t, s.Block(s.ctx, s.remote("blocked.example")))
		dead := s.remote("dead.example")
		s.exec(`update instance set {updated} = now() - interval '90 days' where id = $1`, dead)
		s.exec(`update federation_queue_state set fail_count = 40, {last_retry} = now() where instance_id = $1`, dead)
		v := s.visit()
		first := s.send()
		s.insert(lemmy.Activity{Name: "2", Actor: s.community, Inboxes: []string{"https://user:secret@fine.example/inbox"}})
		s.settled(fine)
		s.until("it fails", `select state = 'failing' and last_error is not null from fedsender.instance_status where instance_id = $1`, failing)
		s.until("the letter is there", `select count(*) = 1 from fedsender.dead_letter`)

		q := url.QueryEscape
		v.shows("/", "4 instances", "failing.example", "/instance?domain=dead.example", "1 delivery was given up")
		v.shows("/instances?sort=domain", "blocked.example", "fine.example", "502 Bad Gateway: upstream is down")
		v.shows("/instance?domain=failing.example", "2 <small>ids</small>", "1 activity is for it, of 2 ids behind its cursor.", "502 Bad Gateway: upstream is down", "/trace?id="+strings.ToLower(q(first)))
		v.shows("/instance?domain=dead.example", "no sign of life for 3 days", "90d ago")
		v.shows("/instance?domain=blocked.example", "It is on the list of blocked domains.")
		v.shows("/trace?id="+q(first), "1 <small>of 4</small>", "blocked.example", s.community.APID)
		v.shows("/dead-letters", "fine.example", "has a user name in its URL")
		v.shows("/processes", "1 process", "4 of 4 instances held")
		v.shows("/dead-letter?id=1", "has a user name in its URL", "&#34;type&#34;: &#34;Announce&#34;")
		v.shows("/history.json", "delivered")

		v.does("/instance/pause?domain=failing.example", "2 ids behind the newest", "failing.example is paused until 20", "for", "6h")
		v.shows("/instances?state=paused", "failing.example")
		v.does("/instance/resume?domain=failing.example", "1 is for it and will be sent in their order", "failing.example is resumed.")
		v.does("/instance/limit?domain=failing.example", "no limit of its own", "failing.example gets at most 3 deliveries", "most", "3")
		v.does("/instance/retry?domain=failing.example", "the fails stay counted", "failing.example is tried at once.")
		v.does("/instance/skip?domain=failing.example", "goes forward by 2 ids", "failing.example has skipped 2 ids.")
		s.settled(failing)
		v.does("/instance/replay?domain=fine.example&back=6h", "goes back by about 2 ids", "fine.example goes back by 2 ids.")
		ledger := s.fedi.Ledger()
		ok(t, ledger.WaitFor(s.ctx, func() bool { return ledger.Count("fine.example") == 2 }))
		s.settled(fine)
		s.exec(`insert into fedsender.dead_letter (activity_id, instance_id, reason) select id, $1, 'answered 500 for 15 minutes' from sent_activity where ap_id = $2`, fine, first)
		v.does("/dead-letters/retry?id=2", "Retry 1 dead letter?", "1 dead letter was retried.")
		ok(t, ledger.WaitFor(s.ctx, func() bool { return ledger.Count("fine.example") == 3 }))
		s.until("the letter is gone", `select count(*) = 0 from fedsender.dead_letter where id = 2`)
		v.does("/dead-letters/drop?all=yes", "given up for good", "dropped.")
	})
}
