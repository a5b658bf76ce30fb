//go:build unix

package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminalEvents are what happens to a terminal while a picture is on it; those that come while one is dealt with are one.
type terminalEvents struct{ resized, suspended, resumed <-chan os.Signal }

// onTerminalEvents hears them until unhear is called. SIGTSTP (Ctrl-Z) does nothing by itself meanwhile: see [stopSelf].
func onTerminalEvents() (events terminalEvents, unhear func()) {
	var heard []chan os.Signal
	on := func(s os.Signal) <-chan os.Signal {
		c := make(chan os.Signal, 1)
		signal.Notify(c, s)
		heard = append(heard, c)
		return c
	}
	events = terminalEvents{resized: on(unix.SIGWINCH), suspended: on(unix.SIGTSTP), resumed: on(unix.SIGCONT)}
	return events, func() {
		for _, c := range heard {
			signal.Stop(c)
		}
	}
}

// stopSelf stops this process until somebody sends it SIGCONT, which may be a little after it returns.
func stopSelf() { _ = unix.Kill(os.Getpid(), unix.SIGSTOP) }
