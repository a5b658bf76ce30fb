package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// kill ends the postmaster and its children with SIGKILL and waits until all have ended. The postmaster is stopped
// first, so that it starts no others and no process id is used anew meanwhile.
func (p *process) kill() error {
	select {
	case <-p.done:
		p.group.Wait()
		return nil
	default:
	}
	if err := syscall.Kill(p.pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill Postgres: %w", err)
	}
	children, err := childrenOf(p.pid)
	var ends []unix.PollFd
	for _, pid := range children {
		fd, openErr := unix.PidfdOpen(pid, 0)
		if openErr != nil {
			continue // it has ended
		}
		defer func() { _ = unix.Close(fd) }()
		ends = append(ends, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		err = errors.Join(err, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
	}
	err = errors.Join(err, syscall.Kill(p.pid, syscall.SIGKILL))
	p.group.Wait()
	for i := range ends {
		if waitErr := waitReadable(ends[i : i+1]); waitErr != nil {
			err = errors.Join(err, waitErr)
		}
	}
	return err
}

func waitReadable(fds []unix.PollFd) error {
	for {
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// childrenOf reads /proc: field 4 of stat is the parent. The name, field 2, may hold blanks and brackets.
func childrenOf(parent int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, file := range files {
		text, err := os.ReadFile(file) // #nosec G304: of /proc
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil {
			children = append(children, pid)
		}
	}
	return children, nil
}
