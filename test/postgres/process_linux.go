package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent ends the program when the thread that starts it ends.
func dieWithParent(attributes *syscall.SysProcAttr, signal syscall.Signal) {
	attributes.Pdeathsig = signal
}

// processLives says whether it has not ended yet, reaped or not.
func processLives(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	ended, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err != nil || ended == 0
}

// removeSegment removes System V shared memory that no process uses.
func removeSegment(key int32, id int) {
	var segment unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &segment); err != nil || segment.Perm.Key != key || segment.Nattch != 0 {
		return
	}
	_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // somebody else was faster
}

// killFamily kills a stopped process and its children and waits until the children have ended.
func killFamily(parent int) error {
	children, err := childrenOf(parent)
	var ends []unix.PollFd
	for _, pid := range children {
		fd, openErr := unix.PidfdOpen(pid, 0)
		if openErr != nil {
			continue // it has ended
		}
		defer func() { _ = unix.Close(fd) }()
		ends = append(ends, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		if killErr := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); !errors.Is(killErr, unix.ESRCH) {
			err = errors.Join(err, killErr)
		}
	}
	err = errors.Join(err, syscall.Kill(parent, syscall.SIGKILL))
	for i := range ends {
		err = errors.Join(err, waitReadable(ends[i:i+1]))
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
