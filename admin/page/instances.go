package page

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/fedsender/fedsender/pg"
)

// rowsShown is a page of a list: a few screens, and nothing that a browser notices.
const rowsShown = 100

// listing is what a list of instances was asked for.
type listing struct {
	Search string
	State  string // empty: all
	Sort   string
	Desc   bool
	Page   int
}

// orders are how instances can be sorted, each with the way that is of use first.
var orders = map[string]struct {
	by   func(a, b pg.InstanceStatus) int
	desc bool
}{
	"state":   {byState, false},
	"domain":  {func(a, b pg.InstanceStatus) int { return strings.Compare(a.Domain, b.Domain) }, false},
	"behind":  {func(a, b pg.InstanceStatus) int { return compare(a.IDsBehind, b.IDsBehind) }, true},
	"lag":     {func(a, b pg.InstanceStatus) int { return compare(a.LagSeconds, b.LagSeconds) }, true},
	"fails":   {func(a, b pg.InstanceStatus) int { return compare(a.FailCount, b.FailCount) }, true},
	"next":    {byNextTry, false},
	"letters": {func(a, b pg.InstanceStatus) int { return compare(a.DeadLetters, b.DeadLetters) }, true},
	"holder":  {func(a, b pg.InstanceStatus) int { return strings.Compare(a.Holder, b.Holder) }, false},
}

// byNextTry has those that wait for nothing behind those that do.
func byNextTry(a, b pg.InstanceStatus) int {
	switch {
	case a.NextRetryAt.IsZero() && b.NextRetryAt.IsZero():
		return 0
	case a.NextRetryAt.IsZero():
		return 1
	case b.NextRetryAt.IsZero():
		return -1
	}
	return a.NextRetryAt.Compare(b.NextRetryAt)
}

// listingOf reads a query and passes over what it does not know.
func listingOf(q url.Values) listing {
	l := listing{Search: strings.TrimSpace(q.Get("q")), State: q.Get("state"), Sort: q.Get("sort"), Page: 1}
	if len(l.Search) > 300 {
		l.Search = l.Search[:300]
	}
	if !slices.Contains(states, l.State) && l.State != "trouble" {
		l.State = ""
	}
	order, known := orders[l.Sort]
	if !known {
		l.Sort, order = "state", orders["state"]
	}
	l.Desc = order.desc
	switch q.Get("order") {
	case "asc":
		l.Desc = false
	case "desc":
		l.Desc = true
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 {
		l.Page = n
	}
	return l
}

// link is the address of the same list with another state, order or page.
func (l listing) link() string {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("q", l.Search)
	set("state", l.State)
	if l.Sort != "state" || l.Desc {
		q.Set("sort", l.Sort)
		q.Set("order", map[bool]string{true: "desc", false: "asc"}[l.Desc])
	}
	if l.Page > 1 {
		q.Set("page", strconv.Itoa(l.Page))
	}
	if len(q) == 0 {
		return "/instances"
	}
	return "/instances?" + q.Encode()
}

// WithState is the list of one state.
func (l listing) WithState(state string) string {
	l.State, l.Page = state, 1
	return l.link()
}

// WithPage is another page of the list.
func (l listing) WithPage(page int) string {
	l.Page = page
	return l.link()
}

// WithSort is the list in another order, or in the other direction.
func (l listing) WithSort(by string) string {
	if l.Sort == by {
		l.Desc = !l.Desc
	} else {
		l.Desc = orders[by].desc
	}
	l.Sort, l.Page = by, 1
	return l.link()
}

// AriaSort says how a column is sorted.
func (l listing) AriaSort(by string) string {
	switch {
	case l.Sort != by:
		return ""
	case l.Desc:
		return "descending"
	}
	return "ascending"
}

func (l listing) fits(one *pg.InstanceStatus, search string) bool {
	if l.State == "trouble" && one.State == "ok" || l.State != "" && l.State != "trouble" && one.State != l.State {
		return false
	}
	return search == "" || strings.Contains(one.Domain, search)
}

// instanceList is a page of the list.
type instanceList struct {
	listing
	Fleet *Snapshot
	Tiles []tile
	Rows  []pg.InstanceStatus
	Found int
	First int // number of the first row, from 1
	Last  int
	Pages int
}

func (p *Page) listInstances(ctx context.Context, r *http.Request) (any, error) {
	s, err := p.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return s.list(listingOf(r.URL.Query())), nil
}

// list chooses, sorts and cuts in memory: 30,000 take a few milliseconds, and the database none.
func (s *Snapshot) list(l listing) *instanceList {
	search := strings.ToLower(l.Search)
	if ascii, err := idna.ToASCII(search); err == nil {
		search = ascii
	}
	var chosen []pg.InstanceStatus
	for i := range s.Instances {
		if l.fits(&s.Instances[i], search) {
			chosen = append(chosen, s.Instances[i])
		}
	}
	if l.Sort != "state" {
		by := orders[l.Sort].by
		slices.SortStableFunc(chosen, func(a, b pg.InstanceStatus) int {
			if l.Desc {
				return by(b, a)
			}
			return by(a, b)
		})
	} else if l.Desc {
		slices.Reverse(chosen)
	}
	list := &instanceList{listing: l, Fleet: s, Found: len(chosen), Pages: max(1, (len(chosen)+rowsShown-1)/rowsShown)}
	list.Page = min(list.Page, list.Pages)
	from := (list.Page - 1) * rowsShown
	list.Rows = chosen[from:min(from+rowsShown, len(chosen))]
	list.First, list.Last = min(from+1, len(chosen)), from+len(list.Rows)
	for _, state := range states {
		list.Tiles = append(list.Tiles, tile{state, s.States[state]})
	}
	return list
}

// Previous is the page before.
func (l *instanceList) Previous() int { return l.Page - 1 }

// Following is the page behind.
func (l *instanceList) Following() int { return l.Page + 1 }
