//go:build !linux

package postgres

import "syscall"

func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

func processLives(pid int) bool { return syscall.Kill(pid, 0) == nil }

func removeSegment(int32, int) {}

// killFamily leaves the children to themselves: they end when they see that the postmaster is gone.
func killFamily(parent int) error { return syscall.Kill(parent, syscall.SIGKILL) }
