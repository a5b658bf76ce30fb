package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/fedsender/fedsender/pg"
)

// watchEvery leaves the database alone: the status reads pg_locks, which is dear where many leases are held.
const watchEvery = 2 * time.Second

// watchHead is how many lines a watch itself takes: the head, an empty one, and one that the cursor stands in.
const watchHead = 3

// picture writes what was read once, as often as it is wanted.
type picture func(io.Writer, look) error

// watching is a watch that has something to show.
type watching struct {
	*app
	draw            picture
	trouble         string // why draw is not what is so now
	inPlace, asJSON bool
}

// watch reads and draws again and again until ctx ends: on a terminal in place, on its second screen, and at the end once more on the
// first; elsewhere one block after the other. Once there was something to see, an error is shown with it and does not end it.
func (a *app) watch(ctx context.Context, read func(look) (picture, error), explain func(error) error, asJSON bool) error {
	l := lookOf(a.out)
	draw, err := read(l)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	w := &watching{app: a, draw: draw, inPlace: l.terminal && !asJSON, asJSON: asJSON}
	var events terminalEvents
	if w.inPlace {
		fmt.Fprint(a.out, alternateScreen)
		var unhear func()
		events, unhear = onTerminalEvents()
		defer func() {
			unhear()
			fmt.Fprint(a.out, mainScreen)
			_ = w.draw(a.out, lookOf(a.out))
		}()
	}
	timer := time.NewTicker(watchEvery)
	defer timer.Stop()
	for {
		if err := w.show(); err != nil {
			return err // who read it has gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-events.resized:
			continue
		case <-events.resumed: // something else stopped it
			continue
		case <-events.suspended:
			w.suspend(ctx, events.resumed)
			continue
		case <-timer.C:
		}
		switch draw, err := read(lookOf(a.out)); {
		case ctx.Err() != nil:
			return nil
		case err != nil && asJSON:
			return err
		case err != nil:
			w.trouble = a.redact().text(oneLine(pg.Sentence(explain(err))))
		default:
			w.trouble, w.draw = "", draw
		}
	}
}

// suspend gives the terminal back to the shell, as Ctrl-Z asks, until it has this program go on.
func (w *watching) suspend(ctx context.Context, resumed <-chan os.Signal) {
	select {
	case <-resumed: // an earlier one
	default:
	}
	fmt.Fprint(w.out, mainScreen)
	stopSelf()
	select {
	case <-ctx.Done():
	case <-resumed:
	}
	fmt.Fprint(w.out, alternateScreen)
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// show draws once.
func (w *watching) show() error {
	l := lookOf(w.out)
	if w.asJSON {
		return w.draw(w.out, l)
	}
	var drawn bytes.Buffer
	if err := w.draw(&drawn, l); err != nil {
		return err
	}
	head := time.Now().Format(time.DateTime) + "  every " + watchEvery.String() + ", Ctrl-C ends"
	if w.trouble != "" {
		head = time.Now().Format(time.DateTime) + "  below is what was seen last: " + w.trouble
	}
	if !w.inPlace {
		_, err := fmt.Fprintf(w.out, "--- %s\n%s\n", head, drawn.Bytes())
		return err
	}
	return w.redraw(l, head, strings.Split(strings.TrimRight(drawn.String(), "\n"), "\n"))
}

// redraw writes over what is on the screen, as far as there is room.
func (w *watching) redraw(l look, head string, lines []string) error {
	style := dim
	if w.trouble != "" {
		style = red
	}
	var screen strings.Builder
	screen.WriteString(home)
	heads := wrap(head, l.width)
	if room := l.height - len(heads) - 2; l.height > 0 && len(lines) > max(room, 1) {
		lines = append(lines[:max(room-1, 0)], fmt.Sprintf("… %d more lines", len(lines)-max(room-1, 0)))
	}
	// Each line is erased before it is written: behind a full one the cursor stands on its last letter.
	for _, h := range heads {
		screen.WriteString(eraseLine + l.paint(style, h) + "\n")
	}
	screen.WriteString(eraseLine + "\n")
	for _, line := range lines {
		screen.WriteString(eraseLine + line + "\n")
	}
	screen.WriteString(eraseBelow)
	_, err := io.WriteString(w.out, screen.String())
	return err
}
