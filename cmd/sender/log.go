package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// newLog writes to w: text for people where format says so, or says auto and w is a terminal, else one JSON object a
// line. Nothing that redact knows is ever written.
func newLog(w io.Writer, format string, level slog.Level, redact redactor) *slog.Logger {
	terminal := isTerminal(w)
	var handler slog.Handler
	if format == "text" || format == "auto" && terminal {
		handler = tint.NewTextHandler(w, &tint.Options{
			Level:      level,
			TimeFormat: time.DateTime,
			NoColor:    !terminal || os.Getenv("NO_COLOR") != "",
		})
	} else {
		handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	}
	return slog.New(redactHandler{handler, redact})
}

func isTerminal(w any) bool {
	file, isFile := w.(*os.File)
	return isFile && isatty.IsTerminal(file.Fd())
}
