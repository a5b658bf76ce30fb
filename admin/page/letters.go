package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/fedsender/fedsender/admin/access"
	"github.com/fedsender/fedsender/pg"
)

const (
	// lettersAtOnce is how many are acted on by one request: some seconds' worth.
	lettersAtOnce = 1000
	// documentShown is how much of an activity is shown.
	documentShown = 64 << 10
)

// letterList is a page of dead letters, the newest first.
type letterList struct {
	Domain string
	Rows   []pg.DeadLetter
	Total  int64
	Newest int64 // of all that Total counts
	More   bool
	Next   string // where the list goes on
	MayAct bool
}

func (p *Page) listLetters(ctx context.Context, r *http.Request) (any, error) {
	list := &letterList{Domain: strings.ToLower(strings.TrimSpace(r.URL.Query().Get("domain"))), MayAct: p.guard.HasToken()}
	before, _ := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64) // 0: from the newest on
	err := p.reading(ctx, func(ctx context.Context, q pg.Querier) (err error) {
		if list.Total, err = pg.CountDeadLetters(ctx, q, list.Domain); err == nil {
			list.Rows, err = pg.DeadLetterPage(ctx, q, list.Domain, before, rowsShown+1)
		}
		if err != nil || len(list.Rows) == 0 {
			return err
		}
		newest := list.Rows[:1]
		if before != 0 {
			newest, err = pg.DeadLetterPage(ctx, q, list.Domain, 0, 1)
		}
		for _, l := range newest {
			list.Newest = l.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if list.More = len(list.Rows) > rowsShown; list.More {
		list.Rows = list.Rows[:rowsShown]
		next := url.Values{"before": {strconv.FormatInt(list.Rows[rowsShown-1].ID, 10)}}
		if list.Domain != "" {
			next.Set("domain", list.Domain)
		}
		list.Next = "/dead-letters?" + next.Encode()
	}
	return list, nil
}

// letterPage is one dead letter with its activity.
type letterPage struct {
	pg.DeadLetter
	Document string // as it is sent, indented; empty: the activity is gone
	Cut      bool
	MayAct   bool
}

// PageTitle tells letters from each other.
func (l *letterPage) PageTitle() string { return "Dead letter " + strconv.FormatInt(l.ID, 10) }

func (p *Page) oneLetter(ctx context.Context, r *http.Request) (any, error) {
	none := &missing{"No such dead letter", "It was retried or dropped, or never was there."}
	id, err := strconv.ParseInt(r.URL.Query().Get("id"), 10, 64)
	if err != nil {
		return nil, none
	}
	shown := &letterPage{MayAct: p.guard.HasToken()}
	err = p.reading(ctx, func(ctx context.Context, q pg.Querier) error {
		found, err := pg.DeadLetters(ctx, q, pg.DeadLetterFilter{IDs: []int64{id}})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return none
		}
		shown.DeadLetter = found[0]
		activities, err := pg.ReadActivities(ctx, q, []int64{shown.ActivityID})
		if err == nil && len(activities) == 1 {
			shown.Document, shown.Cut = document(activities[0].Body)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return shown, nil
}

// document indents what is JSON and cuts what is long.
func document(body string) (text string, cut bool) {
	var indented bytes.Buffer
	if len(body) <= documentShown && json.Indent(&indented, []byte(body), "", "  ") == nil {
		body = indented.String()
	}
	if len(body) > documentShown {
		return strings.ToValidUTF8(body[:documentShown], ""), true
	}
	return body, false
}

// letterVerbs are what can be done with dead letters.
var letterVerbs = map[string]struct {
	title, past, does string
	danger            bool
	act               pg.LetterAction
}{
	"retry": {"Retry", "retried", "Each is sent again, outside the order of the queue. One that fails again comes back as a dead letter.", false, pg.RetryLetter},
	"drop":  {"Drop", "dropped", "They are given up for good: their instances never get these activities, and nothing can bring the letters back.", true, pg.DropLetter},
}

// chosenLetters reads which letters are meant: the ids that were ticked, or all, up to the newest that there was; where a domain
// is given, only what is for it.
func (p *Page) chosenLetters(ctx context.Context, form url.Values) (ids []int64, err error) {
	filter := pg.DeadLetterFilter{Domain: form.Get("domain"), Limit: lettersAtOnce}
	if form.Get("all") == "" {
		for _, text := range form["id"] {
			id, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, inputError("Choose dead letters from the list.")
			}
			ids = append(ids, id)
		}
		if len(ids) > lettersAtOnce {
			return nil, inputError("Choose at most " + count(lettersAtOnce) + " at once.")
		}
		if len(ids) == 0 || filter.Domain == "" {
			return ids, nil
		}
		filter.IDs = ids
	}
	through, _ := strconv.ParseInt(form.Get("through"), 10, 64) // 0: no end
	err = p.reading(ctx, func(ctx context.Context, q pg.Querier) error {
		ids, err = pg.DeadLetterIDs(ctx, q, filter, 0)
		return err
	})
	return slices.DeleteFunc(ids, func(id int64) bool { return through > 0 && id > through }), err
}

func lettersLink(form url.Values) string {
	if domain := form.Get("domain"); domain != "" {
		return "/dead-letters?domain=" + urlEscape(domain)
	}
	return "/dead-letters"
}

func (p *Page) confirmLetters(w http.ResponseWriter, r *http.Request, who access.Who) {
	verb, ok := letterVerbs[r.PathValue("action")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	form := r.URL.Query()
	ids, err := p.chosenLetters(r.Context(), form)
	if err != nil {
		p.failLetters(w, r, err)
		return
	}
	c := &confirmation{
		Title: verb.title + " " + plural(int64(len(ids)), "dead letter", "dead letters"), Button: verb.title, Danger: verb.danger,
		Post: "/dead-letters/" + r.PathValue("action"), Back: lettersLink(form), Says: []string{verb.does},
	}
	if domain := form.Get("domain"); domain != "" {
		c.Says = append(c.Says, "All of them are for "+cut(260, domain)+".")
		c.Hidden = append(c.Hidden, choice{Value: domain, Text: "domain"})
	}
	switch {
	case len(ids) == 0:
		c.Nothing = "None is chosen. Tick some in the list first."
	case form.Get("all") != "":
		if len(ids) == lettersAtOnce {
			c.Says = append(c.Says, "These are the oldest "+count(lettersAtOnce)+", which is as many as go at once; do it again for the rest.")
		}
		c.Hidden = append(c.Hidden, choice{Value: "yes", Text: "all"}, choice{Value: strconv.FormatInt(ids[len(ids)-1], 10), Text: "through"})
	default:
		for _, id := range ids {
			c.Hidden = append(c.Hidden, choice{Value: strconv.FormatInt(id, 10), Text: "id"})
		}
	}
	p.show(w, http.StatusOK, "confirm", p.frame(r, who, c.Title, c))
}

func (p *Page) failLetters(w http.ResponseWriter, r *http.Request, err error) {
	var wrong inputError
	if errors.As(err, &wrong) {
		p.say(w, r, http.StatusBadRequest, "Nothing was done", wrong.Error())
		return
	}
	p.fail(w, r, "Dead letters", err)
}

func (p *Page) doLetters(w http.ResponseWriter, r *http.Request, who access.Who) {
	verb, ok := letterVerbs[r.PathValue("action")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	ids, err := p.chosenLetters(r.Context(), r.PostForm)
	if err != nil {
		p.failLetters(w, r, err)
		return
	}
	var done []int64
	var refused []error
	if busy := p.acting(r.Context(), func(ctx context.Context) { done, refused, err = pg.ActOnDeadLetters(ctx, p.DB, verb.act, ids) }); busy != nil {
		p.fail(w, r, "Dead letters", busy)
		return
	}
	p.fleet.forget()
	p.Log.Info("an operator acted through the page", "action", r.PathValue("action")+" dead letters", "done", len(done), "refused", len(refused), "lost", err != nil,
		"instance", cut(260, r.PostForm.Get("domain")), "by", who.Name, "from", from(r))
	said := plural(int64(len(done)), "dead letter was ", "dead letters were ") + verb.past + "."
	if len(refused) > 0 {
		said += " " + plural(int64(len(refused)), "could", "could") + " not be, the first because " + cut(200, pg.Sentence(refused[0])) + "."
	}
	if err != nil {
		said += " " + p.problem("What became of the others", err)
	}
	if len(done) == 0 {
		p.say(w, r, http.StatusConflict, "Nothing was done", said)
		return
	}
	p.done(w, r, lettersLink(r.PostForm), said)
}
