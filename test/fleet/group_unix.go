//go:build unix

package fleet

import "syscall"

// ownGroup keeps a person's Ctrl-C from the process.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
