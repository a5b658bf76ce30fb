//go:build !unix

package markdown

import "syscall"

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
