package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/fedsender/fedsender/admin/access"
)

//go:embed templates
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// templates are parsed once for each page, because each defines "live" and "rest" anew.
var templates = parseTemplates("overview", "instances", "instance", "letters", "letter", "processes", "trace", "confirm", "login", "say")

func parseTemplates(names ...string) map[string]*template.Template {
	all := map[string]*template.Template{}
	for _, name := range names {
		all[name] = template.Must(template.New(name).Funcs(functions).ParseFS(templateFiles,
			"templates/layout.html", "templates/parts.html", "templates/"+name+".html"))
	}
	return all
}

// assetVersion is in the address of static files, so that a browser never uses those of another version.
var assetVersion = func() string {
	sum := sha256.New()
	_ = fs.WalkDir(staticFiles, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, _ := staticFiles.ReadFile(name)
			sum.Write(text)
		}
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)[:6])
}()

func asset(name string) string { return "/static/" + name + "?v=" + assetVersion }

func serveStatic(w http.ResponseWriter, r *http.Request) {
	text, err := staticFiles.ReadFile(path.Join("static", r.PathValue("name")))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == assetVersion {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, path.Base(r.PathValue("name")), time.Time{}, bytes.NewReader(text))
}

// frame is what the layout shows around a page.
type frame struct {
	Title     string
	Path      string // of the view, to mark it in the navigation
	Live      string // what to ask /events for; empty: nothing changes by itself
	Process   string
	Version   string
	NotReady  string
	Said      string // what was just done
	SignedIn  bool
	HasToken  bool
	FormToken string
	Data      any
}

func (p *Page) frame(r *http.Request, who access.Who, title string, data any) frame {
	f := frame{
		Title: title, Path: r.URL.Path, Process: p.Name, Version: p.Version, HasToken: p.guard.HasToken(),
		SignedIn: who.Name != "", FormToken: who.FormToken, Data: data,
	}
	if err := p.Ready(); err != nil {
		f.NotReady = err.Error()
	}
	return f
}

// show writes a page, or none of it.
func (p *Page) show(w http.ResponseWriter, status int, name string, f frame) {
	var body bytes.Buffer
	if err := templates[name].ExecuteTemplate(&body, "layout", f); err != nil {
		p.Log.Error("the page could not be made", "page", name, "error", err)
		http.Error(w, "the page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // a browser that has gone is no error of ours
}

// say shows a short message instead of a page.
func (p *Page) say(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	var who access.Who
	if r.Header.Get("Authorization") == "" { // a wrong token counts once
		who, _ = p.guard.Look(r)
	}
	p.show(w, status, "say", p.frame(r, who, title, text))
}
