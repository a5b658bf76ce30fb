//go:build unix

package postgres

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes make the program end with us.
func attributes(owner *owner) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if c := owner.credential; c != nil {
		attributes.Credential = &syscall.Credential{Uid: c.uid, Gid: c.gid}
	}
	dieWithParent(attributes, syscall.SIGQUIT)
	return attributes
}

func send(pid int, signal syscall.Signal) error { return syscall.Kill(pid, signal) }

func freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }

// lockFile fails where another process has locked the file.
func lockFile(file *os.File) error { return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
