package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fedsender/fedsender/admin/access"
	"github.com/fedsender/fedsender/pg"
)

// action is what an operator may do with one instance. Its confirmation says beforehand what it will do.
type action struct {
	Name   string // in addresses and in the log
	Title  string // of the button, and with the domain of the confirmation
	Danger bool   // it gives something up
	// plan says in sentences what it will do.
	plan func(ctx context.Context, p *Page, i *instanceRead, query func(string) string, c *confirmation) error
	// act does it and says what it did.
	act func(ctx context.Context, q pg.Querier, domain string, form func(string) string) (string, error)
}

// actions are all of them, in the order of the buttons.
var actions = []action{
	{Name: "pause", Title: "Pause", plan: planPause, act: actPause},
	{Name: "resume", Title: "Resume", plan: planResume, act: func(ctx context.Context, q pg.Querier, domain string, _ func(string) string) (string, error) {
		return "is resumed.", pg.Resume(ctx, q, domain)
	}},
	{Name: "retry", Title: "Retry now", plan: planRetry, act: func(ctx context.Context, q pg.Querier, domain string, _ func(string) string) (string, error) {
		return "is tried at once.", pg.RetryNow(ctx, q, domain)
	}},
	{Name: "limit", Title: "Limit", plan: planLimit, act: actLimit},
	{Name: "replay", Title: "Replay", plan: planReplay, act: actReplay},
	{Name: "skip", Title: "Skip", Danger: true, plan: planSkip, act: actSkip},
}

// AppliesTo tells whether the action makes sense for an instance in this state.
func (a action) AppliesTo(state string) bool {
	switch a.Name {
	case "pause":
		return state != "paused"
	case "resume":
		return state == "paused"
	case "retry":
		return state == "failing" || state == "dead" || state == "lagging" || state == "ok"
	}
	return true
}

// choice is one of several values of a field.
type choice struct {
	Value, Text string
	Chosen      bool
}

// confirmation is the page before something is done.
type confirmation struct {
	Title  string
	Says   []string
	Button string
	Danger bool
	Post   string // where the form goes
	Back   string
	Hidden []choice // name and value
	Pick   *picker  // chosen with the action
	Ask    *picker  // chosen before it, because what the page says depends on it
	Number *numberField
	// Nothing says why there is nothing to confirm.
	Nothing string
}

// picker is a field with a few values.
type picker struct {
	Name, Label string
	Choices     []choice
}

// numberField is a field for a number.
type numberField struct {
	Name, Label, Value, Help string
	Min, Max                 int
}

// PageTitle is what is to be confirmed.
func (c *confirmation) PageTitle() string { return c.Title }

// inputError is something that a person can mend in the form.
type inputError string

func (e inputError) Error() string { return string(e) }

func findAction(r *http.Request) (action, bool) {
	i := slices.IndexFunc(actions, func(a action) bool { return a.Name == r.PathValue("action") })
	if i < 0 {
		return action{}, false
	}
	return actions[i], true
}

func instanceLink(domain string) string { return "/instance?domain=" + urlEscape(domain) }

func (p *Page) confirmAction(w http.ResponseWriter, r *http.Request, who access.Who) {
	a, ok := findAction(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	domain := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("domain")))
	one := p.readInstance(r.Context(), domain)
	if one.err != nil {
		p.fail(w, r, a.Title, one.err)
		return
	}
	c := &confirmation{
		Title: a.Title + " " + domain, Button: a.Title, Danger: a.Danger, Post: "/instance/" + a.Name, Back: instanceLink(domain),
		Hidden: []choice{{Value: domain, Text: "domain"}},
	}
	if s, err := p.snapshot(r.Context()); err == nil {
		one.Holder = s.holders[one.ID]
	}
	if err := a.plan(r.Context(), p, one, r.URL.Query().Get, c); err != nil {
		p.fail(w, r, a.Title, err)
		return
	}
	p.show(w, http.StatusOK, "confirm", p.frame(r, who, c.Title, c))
}

func (p *Page) doAction(w http.ResponseWriter, r *http.Request, who access.Who) {
	a, ok := findAction(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	domain := strings.ToLower(strings.TrimSpace(r.PostForm.Get("domain")))
	var said string
	var err error
	if busy := p.acting(r.Context(), func(ctx context.Context) { said, err = a.act(ctx, p.DB, domain, r.PostForm.Get) }); busy != nil {
		p.fail(w, r, a.Title, busy)
		return
	}
	p.instances.forget(domain)
	p.fleet.forget()
	log := p.Log.With("action", a.Name, "instance", cut(260, domain), "by", who.Name, "from", from(r))
	var wrong inputError
	switch {
	case errors.As(err, &wrong):
		p.say(w, r, http.StatusBadRequest, "Nothing was done", wrong.Error())
	case pg.IsNotFound(err):
		p.say(w, r, http.StatusNotFound, "No such instance", "Nothing was done: there is no instance with the domain "+cut(260, domain)+".")
	case err != nil:
		log.Warn("an operator's action failed", "error", pg.Sentence(err))
		p.say(w, r, http.StatusServiceUnavailable, a.Title+" failed", "The database did not do it; the log of this process says why.")
	default:
		log.Info("an operator acted through the page", "done", said)
		p.done(w, r, instanceLink(domain), domain+" "+said)
	}
}

// behind says how far an instance is, in ids.
func behind(i *instanceRead) string {
	if i.IDsBehind == 0 {
		return fmt.Sprintf("Its cursor is at %s, which is the newest.", count(i.CursorID))
	}
	return fmt.Sprintf("Its cursor is at %s, %s behind the newest.", count(i.CursorID), plural(i.IDsBehind, "id", "ids"))
}

// waits says how many activities wait, as far as was looked.
func waits(w pg.Waiting, verb string) string {
	switch {
	case w.ToTheEnd && w.Count == 0:
		return "Nothing waits for it."
	case w.ToTheEnd:
		return fmt.Sprintf("Of the %s behind its cursor, %s for it and will be %s.", plural(w.Looked, "activity", "activities"), plural(w.Count, "is", "are"), verb)
	}
	return fmt.Sprintf("Of the next %s behind its cursor, %s for it; there are more behind them. All of them will be %s.", plural(w.Looked, "activity", "activities"), plural(w.Count, "is", "are"), verb)
}

func planPause(_ context.Context, _ *Page, i *instanceRead, _ func(string) string, c *confirmation) error {
	c.Says = []string{
		"Nothing more is sent to it. What is on its way ends as it ends.",
		behind(i) + " The cursor stands still, so nothing is lost: what waits, and what is published meanwhile, is sent afterwards in its order.",
	}
	if i.State == "paused" {
		c.Says = append(c.Says, "It is paused already; this changes for how long.")
	}
	c.Pick = &picker{"for", "Pause for", []choice{{"", "until it is resumed", true}, {"1h", "1 hour", false}, {"6h", "6 hours", false}, {"24h", "1 day", false}, {"168h", "7 days", false}, {"720h", "30 days", false}}}
	return nil
}

func actPause(ctx context.Context, q pg.Querier, domain string, form func(string) string) (string, error) {
	if form("for") == "" {
		return "is paused until it is resumed.", pg.Pause(ctx, q, domain, time.Time{})
	}
	length, err := time.ParseDuration(form("for"))
	if err != nil || length <= 0 || length > 366*24*time.Hour {
		return "", inputError("Choose how long the pause is.")
	}
	until := time.Now().Add(length)
	return "is paused until " + stamp(until) + ".", pg.Pause(ctx, q, domain, until)
}

func planResume(_ context.Context, _ *Page, i *instanceRead, _ func(string) string, c *confirmation) error {
	if i.State != "paused" {
		c.Nothing = "It is not paused."
		return nil
	}
	c.Says = []string{"Deliveries to it go on within a second.", behind(i) + " " + waits(i.Waiting, "sent in their order")}
	return nil
}

func planRetry(_ context.Context, _ *Page, i *instanceRead, _ func(string) string, c *confirmation) error {
	switch {
	case i.State == "paused":
		c.Says = []string{"Its back-off ends, but nothing is sent: it is paused. Resume it first."}
	case i.State == "blocked":
		c.Says = []string{"Its back-off ends, but nothing is sent before its block ends."}
	case i.Holder == "":
		c.Says = []string{"Its back-off ends, but no process delivers to it at this moment."}
	default:
		c.Says = []string{"It is tried at once by " + i.Holder + ", whatever its back-off or a 429 has said."}
	}
	if i.FailCount > 0 {
		c.Says = append(c.Says, fmt.Sprintf("It has failed %s; the fails stay counted, so after another failure the back-off goes on from there.", plural(int64(i.FailCount), "time", "times")))
	}
	c.Says = append(c.Says, waits(i.Waiting, "sent if it answers"))
	return nil
}

func planLimit(_ context.Context, _ *Page, i *instanceRead, _ func(string) string, c *confirmation) error {
	now := "It has no limit of its own: the process's SENDER_MAX_IN_FLIGHT_PER_INSTANCE holds."
	value := ""
	if n := i.Detail.MaxInFlight; n > 0 {
		now, value = fmt.Sprintf("Its limit is %s at one time.", plural(int64(n), "delivery", "deliveries")), strconv.Itoa(n)
	}
	c.Says = []string{now, "It holds for every process from the next delivery on. 1 sends one after the other; a lower limit spares a weak server and makes it fall behind sooner."}
	c.Number = &numberField{Name: "most", Label: "Deliveries at one time, at most", Value: value, Help: "1 to 1000; leave it empty to go back to the limit of the process.", Min: 1, Max: 1000}
	return nil
}

func actLimit(ctx context.Context, q pg.Querier, domain string, form func(string) string) (string, error) {
	text := strings.TrimSpace(form("most"))
	if text == "" {
		return "has no limit of its own any more.", pg.LimitInFlight(ctx, q, domain, 0)
	}
	most, err := strconv.Atoi(text)
	if err != nil || most < 1 || most > 1000 {
		return "", inputError("The limit must be a number from 1 to 1000, or empty.")
	}
	return "gets at most " + plural(int64(most), "delivery", "deliveries") + " at one time.", pg.LimitInFlight(ctx, q, domain, most)
}

// backs are how far a replay may go.
var backs = []choice{{"1h", "1 hour", false}, {"6h", "6 hours", false}, {"24h", "1 day", false}, {"72h", "3 days", false}, {"168h", "7 days", false}, {"720h", "30 days", false}}

// mark makes one of the choices the chosen one, the first where none is.
func mark(choices []choice, value string) []choice {
	marked := slices.Clone(choices)
	i := slices.IndexFunc(marked, func(c choice) bool { return c.Value == value })
	marked[max(i, 0)].Chosen = true
	return marked
}

func planReplay(ctx context.Context, p *Page, i *instanceRead, query func(string) string, c *confirmation) error {
	c.Ask = &picker{"back", "Send again what was published within the last", mark(backs, query("back"))}
	back, err := time.ParseDuration(query("back"))
	if err != nil || back <= 0 || back > 366*24*time.Hour {
		back = time.Hour
	}
	since := time.Now().Add(-back).Truncate(time.Second)
	var from int64
	var again pg.Waiting
	err = p.reading(ctx, func(ctx context.Context, q pg.Querier) (err error) {
		if from, err = pg.ReplayFrom(ctx, q, i.CursorID, since); err == nil {
			again, err = pg.ReadWaiting(ctx, q, i.ID, from, waitingLooked, 0)
		}
		return err
	})
	if err != nil {
		return err
	}
	c.Hidden = append(c.Hidden, choice{Value: since.UTC().Format(time.RFC3339), Text: "since"})
	c.Says = []string{
		fmt.Sprintf("What was published since %s is sent to it again: its cursor goes back by about %s, from %s to %s.", stamp(since), plural(i.CursorID-from, "id", "ids"), count(i.CursorID), count(from)),
		waits(again, "sent"),
		"Receivers ignore what they have. Use it for a server that lost its data, not for one that is merely behind.",
	}
	if i.CursorID == from {
		c.Nothing = "Nothing before its cursor was published since " + stamp(since) + ", so there is nothing to send again. Choose a longer time."
	}
	return nil
}

func actReplay(ctx context.Context, q pg.Querier, domain string, form func(string) string) (string, error) {
	since, err := time.Parse(time.RFC3339, form("since"))
	if err != nil {
		return "", inputError("The time since when is missing.")
	}
	ids, err := pg.Replay(ctx, q, domain, since)
	return "goes back by " + plural(ids, "id", "ids") + ".", err
}

func planSkip(_ context.Context, _ *Page, i *instanceRead, _ func(string) string, c *confirmation) error {
	if i.IDsBehind == 0 {
		c.Nothing = "Nothing waits for it: its cursor is at the newest activity."
		return nil
	}
	c.Button = "Give up what waits"
	c.Says = []string{
		fmt.Sprintf("All that waits for it is given up: its cursor goes forward by %s, from %s to the newest.", plural(i.IDsBehind, "id", "ids"), count(i.CursorID)),
		waits(i.Waiting, "left out"),
		"Its users miss those posts, edits and deletions. A replay takes it back, as long as the activities are kept.",
	}
	return nil
}

func actSkip(ctx context.Context, q pg.Querier, domain string, _ func(string) string) (string, error) {
	ids, err := pg.SkipToLatest(ctx, q, domain)
	if ids < 0 {
		return "is set back by " + plural(-ids, "id", "ids") + ", to the newest activity.", err
	}
	return "has skipped " + plural(ids, "id", "ids") + ".", err
}
