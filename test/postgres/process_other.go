//go:build !linux

package postgres

import (
	"errors"
	"syscall"
)

func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

func processLives(pid int) bool { return send(pid, 0) == nil }

func removeSegment(int32, int) {}

// killFamily leaves the children to themselves: they end when they see that the postmaster is gone.
func killFamily(parent int) error { return send(parent, syscall.SIGKILL) }

func mount(string, int64, *owner) error {
	return errors.New("a server with a disk of its own is for Linux only")
}

func unmount(string) error { return nil }

func takeSpace(string) error { return nil }
