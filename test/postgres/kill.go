package postgres

import (
	"errors"
	"fmt"
	"syscall"
)

// kill ends the postmaster and its children with SIGKILL and waits for them. The postmaster is stopped first, so that
// it starts no others and no process id is used anew meanwhile.
func (p *process) kill() error {
	select {
	case <-p.done:
		p.group.Wait()
		return nil
	default:
	}
	if err := freeze(p.pid); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill Postgres: %w", err)
	}
	err := killFamily(p.pid)
	p.group.Wait()
	return err
}
