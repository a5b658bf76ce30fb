//go:build !unix

package main

import "os"

// terminalEvents are not heard here: a picture fits a terminal again when it is drawn the next time.
type terminalEvents struct{ resized, suspended, resumed <-chan os.Signal }

func onTerminalEvents() (events terminalEvents, unhear func()) { return terminalEvents{}, func() {} }

func stopSelf() {}
