package page_test

import (
	"errors"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"
)

func pages() []string {
	q := url.QueryEscape
	return []string{
		"/", "/instances", "/instances?q=" + q(hostile), "/instances?state=" + q(hostile) + "&sort=" + q(hostile), "/instances?state=failing&sort=lag&order=asc&page=9",
		"/instance?domain=" + q(hostileDomain), "/instance?domain=i-1.example", "/instance?domain=i-2.example", "/instance?domain=" + q(hostile),
		"/dead-letters", "/dead-letters?domain=i-1.example", "/dead-letters?domain=" + q(hostile), "/dead-letter?id=1", "/dead-letter?id=" + q(hostile), "/processes",
		"/trace", "/trace?id=" + q("https://home.example/a/1/"+hostile), "/trace?id=" + q(hostile),
		"/instance/pause?domain=" + q(hostileDomain), "/instance/resume?domain=i-2.example", "/instance/retry?domain=i-1.example", "/instance/limit?domain=i-1.example",
		"/instance/replay?domain=i-3.example&back=" + q(hostile), "/instance/skip?domain=i-1.example", "/instance/pause?domain=" + q(hostile),
		"/dead-letters/retry?id=1&id=2", "/dead-letters/drop?all=yes&domain=i-1.example", "/dead-letters/drop?id=" + q(hostile), "/login?to=" + q(hostile), "/nothing",
	}
}

func TestPage_ShowsHostileTextAsText(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	for _, path := range pages() {
		got := s.get(t, path)
		require.Less(t, got.status, 500, "%s: %s", path, got.body)
		for _, bad := range []string{"<img", "<script>window", "onerror=\"window", hostileDomain, "ZgotmplZ"} {
			require.NotContains(t, got.body, bad, path)
		}
		require.NotContains(t, got.body, token, path)
		if strings.Contains(got.header.Get("Content-Type"), "html") {
			policy := got.header.Get("Content-Security-Policy")
			require.Contains(t, policy, "script-src 'self'", path)
			require.NotContains(t, policy, "unsafe", path)
			require.NotContains(t, got.body, "style=", path)
		}
	}
	require.Contains(t, s.get(t, "/instance?domain=i-1.example").body, "&lt;script&gt;window.pwned=1")
}

func TestPage_EveryLinkLeadsSomewhere(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	_, err := s.db.Exec(t.Context(), `insert into fedsender.instance (domain) values ('port.example:8443')`)
	require.NoError(t, err)
	link := regexp.MustCompile(`href="(/[^"]*)"`)
	seen := map[string]bool{}
	for _, path := range []string{"/", "/instances?q=port", "/instance?domain=port.example%3a8443", "/instance?domain=i-1.example", "/dead-letters", "/dead-letter?id=1"} {
		for _, found := range link.FindAllStringSubmatch(s.get(t, path).body, -1) {
			to := html.UnescapeString(found[1])
			if !seen[to] {
				require.Equal(t, http.StatusOK, s.get(t, to).status, "%s from %s", to, path)
			}
			seen[to] = true
		}
	}
	require.Contains(t, seen, "/instance?domain=port.example%3a8443")
	require.Contains(t, seen, "/instance/pause?domain=port.example%3a8443")
	require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(p string) bool { return strings.HasPrefix(p, "/trace?id=https") }))
}

func TestPage_SaysThatBytesAreNoText(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	for _, path := range []string{"/trace?id=%00", "/trace?id=%ff%fe", "/dead-letters?domain=%ff%00"} {
		got := s.get(t, path)
		require.Equal(t, http.StatusBadRequest, got.status, path)
		require.Contains(t, got.body, "Sign out", "who is told so is still signed in")
	}
}

func TestPage_ActsAfterAConfirmationThatSaysWhatItDoes(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	domain := url.Values{"domain": {"i-3.example"}}
	with := func(more ...string) url.Values {
		form := url.Values{"domain": {"i-3.example"}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	require.Contains(t, s.get(t, "/instance/skip?"+domain.Encode()).body, "goes forward by 30 ids, from 0 to the newest")
	require.Contains(t, s.get(t, "/instance/skip?"+domain.Encode()).body, "Of the 30 activities behind its cursor, 30 are for it and will be left out.")
	require.Zero(t, s.number(t, `select count(*) from fedsender.instance_control where instance_id = 3`), "a question changes nothing")

	for _, c := range []struct {
		action, said string
		form         url.Values
		sql          string
		want         int
	}{
		{"pause", "is paused until 20", with("for", "1h"), `select count(*) from fedsender.instance_control where instance_id = 3 and paused_until between now() + interval '59 minutes' and now() + interval '61 minutes'`, 1},
		{"resume", "is resumed.", with(), `select count(*) from fedsender.instance_control where instance_id = 3 and paused_until is not null`, 0},
		{"limit", "gets at most 7 deliveries", with("most", "7"), `select max_in_flight from fedsender.instance_control where instance_id = 3`, 7},
		{"limit", "has no limit of its own", with("most", ""), `select count(max_in_flight) from fedsender.instance_control where instance_id = 3`, 0},
		{"skip", "has skipped 30 ids.", with(), `select last_successful_id from fedsender.queue_state where instance_id = 3`, 30},
		{"replay", "goes back by 30 ids.", with("since", time.Now().Add(-time.Hour).Format(time.RFC3339)), `select last_successful_id from fedsender.queue_state where instance_id = 3`, 0},
		{"retry", "is tried at once.", with(), `select count(*) from fedsender.change where kind = 'retry' and instance_id = 3`, 1},
	} {
		got := s.confirm(t, "/instance/"+c.action, c.form)
		require.Equal(t, http.StatusSeeOther, got.status, "%s: %s", c.action, got.body)
		require.Equal(t, "/instance?domain=i-3.example", got.header.Get("Location"))
		require.Contains(t, s.get(t, "/instance?domain=i-3.example").body, "i-3.example "+c.said)
		require.Equal(t, c.want, s.number(t, c.sql), c.action)
	}
	require.NotContains(t, s.get(t, "/instance?domain=i-3.example").body, "is tried at once", "it is said once")
	for path, form := range map[string]url.Values{"/instance/limit": with("most", "1001"), "/instance/pause": with("for", "-1h"), "/instance/replay": with()} {
		form.Set("form_token", formToken(t, s.get(t, "/instance/pause?domain=i-3.example").body))
		require.Equal(t, http.StatusBadRequest, s.do(t, http.MethodPost, path, form, nil).status, path)
	}
	s.confirm(t, "/instance/skip", with())
	_, err := s.db.Exec(t.Context(), `update fedsender.activity set published_at = now() - (31.5 - id) * interval '1 hour'`)
	require.NoError(t, err)
	for back, want := range map[string]string{"1h": "", "6h": "about 5 ids, from 30 to 25", "24h": "about 23 ids, from 30 to 7", "720h": "about 30 ids, from 30 to 0"} {
		body := s.get(t, "/instance/replay?domain=i-3.example&back="+back).body
		require.Contains(t, body, want)
		require.Equal(t, want == "", strings.Contains(body, "Nothing before its cursor"), back)
	}
	got := s.confirm(t, "/instance/pause", with())
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Contains(t, s.get(t, "/instances?state=paused&q=I-3").body, "i-3.example", "seen at once")
	log := s.log.String()
	require.Contains(t, log, `msg="an operator acted through the page" action=pause instance=i-3.example by="session `)
	require.Contains(t, log, "from=127.0.0.1:")
	require.NotContains(t, log, token)
}

func TestPage_ActsOnDeadLettersInBulk(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	require.Contains(t, s.get(t, "/dead-letters/drop?id=1&id=2").body, "Drop 2 dead letters?")
	got := s.confirm(t, "/dead-letters/drop", url.Values{"id": {"1", "2", "4711"}})
	require.Equal(t, http.StatusSeeOther, got.status, got.body)
	require.Contains(t, s.get(t, "/dead-letters").body, "2 dead letters were dropped. 1 could not be, the first because there is no dead letter 4711")
	require.Equal(t, 28, s.number(t, `select count(*) from fedsender.dead_letter`))
	got = s.confirm(t, "/dead-letters/drop", url.Values{"id": {"1", "2"}})
	require.Equal(t, http.StatusConflict, got.status, "no success where all were refused")
	require.Contains(t, got.body, "0 dead letters were dropped. 2 could not be")
	body := s.get(t, "/dead-letters/drop?id=3&id=4&id=5&domain=i-2.example").body
	require.Contains(t, body, "Drop 1 dead letter?", "those of the domain")
	require.Contains(t, body, "All of them are for i-2.example.")
	require.NotContains(t, body, `name="id" value="3"`)
	require.Contains(t, s.get(t, "/dead-letters/drop?domain=i-2.example").body, "None is chosen.")
	for _, path := range []string{"/dead-letters", "/dead-letters?before=9"} {
		body := s.get(t, path).body
		require.Contains(t, body, "all 28, ticked or not", path)
		require.Contains(t, body, `name="through" value="30"`, path+": that is all of them")
	}

	newest := s.number(t, `select max(id) from fedsender.dead_letter where instance_id = 2`)
	got = s.confirm(t, "/dead-letters/retry", url.Values{"all": {"yes"}, "domain": {"i-2.example"}, "through": {strconv.Itoa(newest - 1)}})
	require.Equal(t, "/dead-letters?domain=i-2.example", got.header.Get("Location"))
	require.Equal(t, 1, s.number(t, `select count(*) from fedsender.dead_letter where instance_id = 2`), "one that came later stays")
	require.Equal(t, 8, s.number(t, `select count(*) from fedsender.redelivery`), "ten less one that was dropped and one that stays")
}

func TestPage_ListsSearchesSortsAndPages(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	rows := func(path string) (domains []string) {
		t.Helper()
		_, table, _ := strings.Cut(s.get(t, path).body, "<tbody>")
		for _, part := range strings.Split(table, `<th scope="row"><a href="/instance?domain=`)[1:] {
			_, domain, _ := strings.Cut(part, ">")
			domain, _, _ = strings.Cut(domain, "<")
			domains = append(domains, domain)
		}
		return domains
	}
	require.Len(t, rows("/instances"), 100)
	require.Len(t, rows("/instances?page=3"), 51)
	require.Len(t, rows("/instances?page=99"), 51, "the last one there is")
	require.Equal(t, "i-1.example", rows("/instances")[1], "the worst first")
	require.Len(t, rows("/instances?state=failing"), 2)
	require.Equal(t, []string{"i-2.example"}, rows("/instances?state=paused"))
	require.Len(t, rows("/instances?q=I-25"), 2, "i-25 and i-250")
	require.Equal(t, []string{"i-99.example", "i-98.example"}, rows("/instances?sort=domain&order=desc")[:2])
	require.Equal(t, "i-1.example", rows("/instances?sort=letters")[0][:11])
	require.Contains(t, s.get(t, "/instances?sort=lag").body, `aria-sort="descending"`)
}

func TestPage_ManyViewersCostWhatOneDoes(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	s.get(t, "/")
	before, began := s.spy.reads(), time.Now()
	var group conc.WaitGroup
	for i := range 20 {
		group.Go(func() {
			for _, path := range []string{"/", "/instances?page=" + strconv.Itoa(i), "/processes", "/history.json"} {
				if got := s.get(t, path); got.status != http.StatusOK {
					t.Error(path, got.status)
				}
			}
		})
	}
	group.Wait()
	looks := 1 + int(time.Since(began)/(3*time.Second)) // that may have become due meanwhile
	require.LessOrEqual(t, s.spy.reads()-before, 5*looks, "eighty pages cost what one does")
}

func TestPage_SaysWhatIsMissingAndShowsTheRest(t *testing.T) {
	t.Parallel()
	s := serve(t, token)
	s.signIn(t)
	require.Contains(t, s.get(t, "/").body, "251 instances")
	blocker, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = blocker.Exec(t.Context(), `lock table fedsender.dead_letter in access exclusive mode`)
	require.NoError(t, err)
	var body string
	require.Eventually(t, func() bool {
		body = s.get(t, "/").body
		return strings.Contains(body, "could not be read within 4s")
	}, 30*time.Second, 100*time.Millisecond)
	require.Contains(t, body, "251 instances", "as they were")
	require.NoError(t, blocker.Rollback(t.Context()))

	s.spy.breakWith(errors.New("connect to postgres://u:hunter2@db"))
	got := s.get(t, "/instance?domain=i-77.example")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.NotContains(t, got.body, "hunter2")
	require.Contains(t, got.body, "the log of this process says why")
}

func TestPage_SaysNotThatNoneRunsWhereItCouldNotLook(t *testing.T) {
	s := serve(t, token)
	s.signIn(t)
	s.spy.breakWith(errors.New("gone away"))
	for _, path := range []string{"/", "/processes"} {
		got := s.get(t, path)
		require.Equal(t, http.StatusOK, got.status, path)
		require.NotContains(t, got.body, "No sender process is running", path)
		require.NotContains(t, got.body, "None runs", path)
		require.Contains(t, got.body, "Which processes run could not be read", path)
	}
	require.Equal(t, http.StatusServiceUnavailable, s.get(t, "/events?of="+url.QueryEscape("/instance?domain=i-7.example")).status, "it may be there")
	s.spy.breakWith(nil)
	require.Eventually(t, func() bool { return strings.Contains(s.get(t, "/processes").body, "No sender process is running") }, 10*time.Second, 50*time.Millisecond)
}

func TestPage_ActsOneAtATime(t *testing.T) {
	t.Parallel()
	s := serve(t, token)
	s.signIn(t)
	form := url.Values{"domain": {"i-3.example"}, "form_token": {formToken(t, s.get(t, "/instance/pause?domain=i-3.example").body)}}
	blocker, err := s.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = blocker.Exec(t.Context(), `lock table fedsender.instance_control in access exclusive mode`)
	require.NoError(t, err)
	var group conc.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if got := s.do(t, http.MethodPost, "/instance/pause", form, nil); got.status != http.StatusSeeOther {
			t.Error(got.status, got.body)
		}
	})
	require.Eventually(t, func() bool {
		return s.number(t, `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == 1
	}, 10*time.Second, 10*time.Millisecond)
	got := s.do(t, http.MethodPost, "/instance/limit", form, nil)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Contains(t, got.body, "Another action is under way. Nothing was done")
	require.NoError(t, blocker.Rollback(t.Context()))
}
