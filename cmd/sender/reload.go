package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/sender"
)

// lookAtFiles is how old a secret, or what SENDER_CA_FILE held, may become after its file was changed. The files are read,
// because what Kubernetes mounts is swapped by symbolic links, and what a container mounts alone tells of no change.
const lookAtFiles = 5 * time.Second

// maxLately bounds how many values of the past are kept out of the log.
const maxLately = 64

// reload reads the secrets and SENDER_CA_FILE again when their files change or now says so. What was read is in no line of the log.
func (a *app) reload(redact redactor, now <-chan struct{}) sender.Reload {
	reload := sender.Reload{Now: now, Read: func() (sender.Secrets, error) {
		secrets, err := sender.ReadSecrets(a.environment)
		for _, dsn := range []string{secrets.DatabaseURL, secrets.LeaseDatabaseURL} {
			if cfg, err := pg.ParseConfig(dsn); err == nil && dsn != "" {
				a.secrets = append(a.secrets, cfg.Password)
				a.open = append(a.open, cfg.User, cfg.Database, cfg.Host)
			}
			a.secrets = append(a.secrets, dsn)
		}
		a.secrets = append(a.secrets, secrets.AdminToken)
		a.secrets, a.open = lately(a.secrets), lately(a.open)
		redact.learn(append(librarySecrets(a.environment), a.secrets...), a.open)
		return secrets, err
	}}
	if sender.HasFiles(a.environment) {
		reload.Every = lookAtFiles
	}
	return reload
}

// lately is a list without what stands in it again later, and of its last maxLately only.
func lately(values []string) (kept []string) {
	for i, value := range values {
		if value != "" && !slices.Contains(values[i+1:], value) {
			kept = append(kept, value)
		}
	}
	return kept[max(0, len(kept)-maxLately):]
}

// onHangup hears SIGHUP, which would end the program, until unhear is called. Signals that come while one is dealt with are one.
// A terminal sends it when it is closed: there it is left to [withSignals].
func onHangup(terminal bool) (hangups <-chan struct{}, unhear func()) {
	if terminal {
		return nil, func() {}
	}
	signals, heard, end := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-end:
				return
			case <-signals:
			}
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}()
	return heard, func() { signal.Stop(signals); close(end) }
}
