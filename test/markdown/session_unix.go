//go:build unix

package markdown

import "syscall"

// ownSession lets everything that a block starts be ended together.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
