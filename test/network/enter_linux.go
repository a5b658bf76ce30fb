package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// outside tells the inner run which namespace it must not be in.
	outside = "FEDSENDER_TEST_OUTSIDE_NETWORK"
	// ipTimeout is far above the few milliseconds that `ip` takes.
	ipTimeout = 10 * time.Second
	// Rules of the kernel's own table of local addresses stand at 0, before which nothing can be dropped.
	localRule, dropRule = "100", "10"
)

// Enter is called first in TestMain. In the process that `go test` started it runs the binary again in a network of
// its own, passes signals on, and exits with its code: it returns only with an error that says why there is no such
// network. In the inner run it returns nil.
func Enter() error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("read the network namespace: %w", err)
	}
	switch os.Getenv(outside) {
	case "":
		code, err := runInside(here)
		if err != nil {
			return err
		}
		os.Exit(code)
	case here:
		return errors.New(outside + " is set, but this process has no network of its own; unset it")
	}
	return settle()
}

// inside says why there may be no hosts.
func inside() error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err == nil && (os.Getenv(outside) == "" || os.Getenv(outside) == here) {
		err = errors.New("this test binary has no network of its own: call network.Enter first in TestMain")
	}
	return err
}

// runInside runs this binary in a fresh namespace and returns its exit code.
func runInside(here string) (int, error) {
	// The kernel sends the death signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), outside+"="+here)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		// In a user namespace of its own an ordinary user may make networks. It keeps its name there: as root it
		// could not start Postgres.
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("make a network namespace for the tests, which takes root or unprivileged user namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// exitCode is that of the process, or as in a shell 128 and the signal that ended it.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// settle gives the fresh namespace its addresses.
func settle() error {
	return ip(
		"link set lo up",
		"address add "+Database+"/32 dev lo",
		"address add "+Fediverse+"/32 dev lo",
		"rule add pref "+localRule+" lookup local",
		"rule del pref 0",
	)
}

// ip runs commands of iproute2 in the namespace of the calling thread.
func ip(commands ...string) error {
	cmd := exec.Command("ip", "-4", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no `ip`; install iproute2")
	} else if err != nil {
		return fmt.Errorf("ip: %w", err)
	}
	late := time.AfterFunc(ipTimeout, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, strings.TrimSpace(output.String()))
	}
	return nil
}
