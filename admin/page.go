package admin

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"time"
)

// overviewTimeout keeps a page that reads the database from outliving the patience of who looks at it.
const overviewTimeout = 5 * time.Second

// Overview is what the page shows of this process and of the whole queue. All of it is text and may hold what remote
// servers say.
type Overview struct {
	Name    string // of the process
	Version string
	Facts   []Fact     // of the process and the queue, in the order to show
	Worst   []Instance // what a person should look at, the worst first
}

// Fact is one line: "Leases held", "1,204".
type Fact struct{ Name, Value string }

// Instance is one server in trouble, in words.
type Instance struct {
	Domain, State, Behind, Fails, NextRetry, LastError string
}

//go:embed page.html
var pageText string

//go:embed style.css
var styleText []byte

var page = template.Must(template.New("page").Parse(pageText))

func servePage(w http.ResponseWriter, r *http.Request, cfg Config) {
	shown := struct {
		Overview
		NotReady, NoOverview string
	}{}
	if err := cfg.Ready(); err != nil {
		shown.NotReady = err.Error()
	}
	if cfg.Overview != nil {
		ctx, cancel := context.WithTimeout(r.Context(), overviewTimeout)
		defer cancel()
		overview, err := cfg.Overview(ctx)
		if err != nil {
			cfg.Log.Warn("the page could not be filled", "error", err)
			shown.NoOverview = "The database does not answer; what is known of the queue is in the log."
		}
		shown.Overview = overview
	}
	var body bytes.Buffer
	if err := page.Execute(&body, shown); err != nil {
		cfg.Log.Error("the page could not be made", "error", err)
		say(w, http.StatusInternalServerError, "the page could not be made")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = body.WriteTo(w) // a browser that has gone is no error of ours
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(styleText)
}
