package page

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fedsender/fedsender/admin/access"
)

// missing is a page that there is not: what is asked for does not exist.
type missing struct{ title, text string }

func (m *missing) Error() string { return m.title }

// saidCookie carries what was done to the page that comes next.
const saidCookie = "fedsender_said"

func (p *Page) serveView(w http.ResponseWriter, r *http.Request, who access.Who, v view) {
	data, err := v.fill(r.Context(), r)
	if err != nil {
		p.fail(w, r, v.title, err)
		return
	}
	f := p.frame(r, who, v.title, data)
	if v.isLive() {
		f.Live = r.URL.RequestURI()
	}
	if t, ok := data.(interface{ PageTitle() string }); ok {
		f.Title = t.PageTitle()
	}
	if cookie, err := r.Cookie(saidCookie); err == nil {
		f.Said = p.guard.Unseal(cookie.Value)
		http.SetCookie(w, &http.Cookie{Name: saidCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	p.show(w, http.StatusOK, v.template, f)
}

// notInRepertoire is what Postgres says of text with a zero byte or of bytes that are no UTF-8 (manual, appendix A).
const notInRepertoire = "22021"

// fail answers where a page could not be filled.
func (p *Page) fail(w http.ResponseWriter, r *http.Request, what string, err error) {
	var none *missing
	var busy busyError
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &none):
		p.say(w, r, http.StatusNotFound, none.title, none.text)
	case errors.As(err, &refused) && refused.Code == notInRepertoire:
		p.say(w, r, http.StatusBadRequest, what, "The address holds what is no text in UTF-8.")
	case errors.As(err, &busy):
		w.Header().Set("Retry-After", "5")
		p.say(w, r, http.StatusServiceUnavailable, what, busy.Error())
	case r.Context().Err() != nil:
		// Nobody waits for it.
	default:
		p.say(w, r, http.StatusServiceUnavailable, what, p.problem("This page", err)+" Load it again in a moment.")
	}
}

// isLive tells that the page shows what changes by itself. The others hold what a person is about to choose from.
func (v view) isLive() bool {
	switch v.template {
	case "overview", "instances", "instance", "processes":
		return true
	}
	return false
}

// live makes what /events sends of a page.
func (p *Page) live(ctx context.Context, r *http.Request, of string) ([]byte, error) {
	target, err := url.ParseRequestURI(of)
	if err != nil {
		return nil, &missing{title: "no such page"}
	}
	v, ok := p.views[target.Path]
	if !ok || !v.isLive() {
		return nil, &missing{title: "no such page"}
	}
	asked := r.Clone(ctx)
	asked.URL = target
	data, err := v.fill(ctx, asked)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	f := p.frame(asked, access.Who{}, v.title, data)
	if err := templates[v.template].ExecuteTemplate(&body, "live", f); err != nil {
		return nil, err
	}
	return body.Bytes(), nil
}

// done goes on to another page, which says what was done.
func (p *Page) done(w http.ResponseWriter, r *http.Request, to, said string) {
	http.SetCookie(w, &http.Cookie{
		Name: saidCookie, Value: p.guard.Seal(said), Path: "/", MaxAge: 60, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: access.IsSecure(r),
	})
	http.Redirect(w, r, to, http.StatusSeeOther)
}
