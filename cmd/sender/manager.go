package main

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/fedsender/fedsender/sender"
)

// manager is the service manager that started this program, if it listens (sd_notify(3)).
type manager struct {
	log      *slog.Logger
	watchdog time.Duration // between two signs of life; 0: nobody waits for them
	lived    time.Time     // the last one
}

func newManager(log *slog.Logger) *manager {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not understood; it gets no sign of life", "error", err)
	}
	return &manager{log: log, watchdog: limit / 3}
}

// notify implements Notify of [sender.Config].
func (m *manager) notify(phase sender.Phase, text string) {
	var state []string
	switch phase {
	case sender.Ready:
		state = append(state, daemon.SdNotifyReady)
	case sender.Reloading:
		state = append(state, daemon.SdNotifyReloading)
	case sender.Stopping:
		state = append(state, daemon.SdNotifyStopping)
	case sender.Alive:
		if m.watchdog > 0 && time.Since(m.lived) >= m.watchdog {
			m.lived = time.Now()
			state = append(state, daemon.SdNotifyWatchdog)
		}
	}
	if text != "" {
		state = append(state, "STATUS="+text)
	}
	if len(state) == 0 {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.log.Warn("could not tell the service manager", "socket", os.Getenv("NOTIFY_SOCKET"), "error", err)
	}
}
