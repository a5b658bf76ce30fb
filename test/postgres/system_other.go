//go:build !unix

package postgres

import (
	"errors"
	"os"
	"syscall"
)

var errNoUnix = errors.New("a private Postgres needs a Unix system")

func attributes(*owner) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func send(int, syscall.Signal) error { return errNoUnix }

func freeze(int) error { return errNoUnix }

func lockFile(*os.File) error { return errNoUnix }
