package page

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/fedsender/fedsender/admin/access"
)

// loginForm is what the login page shows.
type loginForm struct {
	To    string
	Wrong string
}

func (p *Page) serveLogin(w http.ResponseWriter, r *http.Request) {
	to := localPath(r.URL.Query().Get("to"))
	switch who, result := p.guard.Look(r); {
	case !p.guard.HasToken():
		p.refuse(w, r, access.Stranger)
	case result == access.Known && who.FormToken != "":
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		p.show(w, http.StatusOK, "login", p.frame(r, access.Who{}, "Sign in", loginForm{To: to}))
	}
}

func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.badForm(w, r, err, "Nobody was signed in.")
		return
	}
	to := localPath(r.PostForm.Get("to"))
	cookie, result := p.guard.Login(r, r.PostForm.Get("token"))
	status, wrong := http.StatusUnauthorized, "This is not the token. It is the value of SENDER_ADMIN_TOKEN."
	switch result {
	case access.Known:
		p.Log.Info("somebody signed in to the page", "from", from(r))
		http.SetCookie(w, cookie)
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	case access.TooMany:
		w.Header().Set("Retry-After", "10")
		status, wrong = http.StatusTooManyRequests, "Too many wrong tokens. Wait ten seconds and try again."
	default:
		p.Log.Warn("somebody tried to sign in to the page with a wrong token", "from", from(r))
	}
	if !p.guard.HasToken() {
		p.refuse(w, r, access.Stranger)
		return
	}
	p.show(w, status, "login", p.frame(r, access.Who{}, "Sign in", loginForm{To: to, Wrong: wrong}))
}

func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, p.guard.Logout(r))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// localPath is a path of this server, or the first page: a login must not lead to another site.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// from is where a request came from, for the log. What a proxy says may be made up, so both are said.
func from(r *http.Request) string {
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		return r.RemoteAddr + " for " + cut(100, strings.Map(visible, forwarded))
	}
	return r.RemoteAddr
}

func visible(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}
