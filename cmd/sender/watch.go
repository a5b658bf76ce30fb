package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// watchEvery leaves the database alone: the status reads pg_locks, which is dear where many leases are held.
const watchEvery = 2 * time.Second

// watch draws again and again until ctx ends: on a terminal in place, on its second screen, and at the end once more on the first;
// elsewhere one block after the other. Once there was something to see, an error is shown with it and does not end it.
func (a *app) watch(ctx context.Context, draw func(io.Writer, look) error, explain func(error) error, asJSON bool) error {
	l := lookOf(a.out)
	var last bytes.Buffer
	if err := draw(&last, l); err != nil {
		return unlessEnded(ctx, err)
	}
	inPlace := l.terminal && !asJSON
	if inPlace {
		fmt.Fprint(a.out, alternateScreen)
		defer func() {
			fmt.Fprint(a.out, mainScreen)
			_, _ = last.WriteTo(a.out)
		}()
	}
	trouble := ""
	timer := time.NewTicker(watchEvery)
	defer timer.Stop()
	for {
		if err := a.show(last.Bytes(), l, inPlace, asJSON, trouble); err != nil {
			return err // who read it has gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		l = lookOf(a.out)
		var next bytes.Buffer
		switch err := draw(&next, l); {
		case ctx.Err() != nil:
			return nil
		case err != nil && asJSON:
			return err
		case err != nil:
			trouble = a.redact().text(oneLine(pg.Sentence(explain(err))))
		default:
			trouble, last = "", next
		}
	}
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// show writes one picture.
func (a *app) show(picture []byte, l look, inPlace, asJSON bool, trouble string) error {
	if asJSON {
		_, err := a.out.Write(picture)
		return err
	}
	head := time.Now().Format(time.DateTime) + "  every " + watchEvery.String() + ", Ctrl-C ends"
	if trouble != "" {
		head = time.Now().Format(time.DateTime) + "  below is what was seen last: " + trouble
	}
	if !inPlace {
		_, err := fmt.Fprintf(a.out, "--- %s\n%s\n", head, picture)
		return err
	}
	style := dim
	if trouble != "" {
		style = red
	}
	var screen strings.Builder
	screen.WriteString(home)
	heads := wrap(head, l.width)
	lines := strings.Split(strings.TrimRight(string(picture), "\n"), "\n")
	if room := l.height - len(heads) - 2; l.height > 0 && len(lines) > max(room, 1) {
		lines = append(lines[:max(room-1, 0)], fmt.Sprintf("… %d more lines", len(lines)-max(room-1, 0)))
	}
	for _, h := range heads {
		screen.WriteString(l.paint(style, h) + eraseLine + "\n")
	}
	screen.WriteString(eraseLine + "\n")
	for i, line := range lines {
		screen.WriteString(line + eraseLine)
		if i < len(lines)-1 {
			screen.WriteString("\n")
		}
	}
	screen.WriteString(eraseBelow)
	_, err := io.WriteString(a.out, screen.String())
	return err
}
