package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/sourcegraph/conc"
	"golang.org/x/sys/unix"
)

// hosts counts those that were made, for their addresses and the names of their cables.
var hosts atomic.Int32

// maxHosts is how many blocks of four addresses 198.19.0.0/16 has.
const maxHosts = 1 << 14

// Both ends of a cable know each other's hardware address for ever: with ARP, a way that is cut would be told to the
// sockets as "no route to host" after a few seconds.
const testsMAC, hostMAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

// Host is a machine of the simulated network: a namespace with an address of its own, from which [Database] and
// [Fediverse] can be reached. Its methods are safe for several goroutines.
type Host struct {
	cable string // the device at the tests' end; eth0 at the other
	addr  string
	space *os.File // the namespace
	tasks chan func()
	group conc.WaitGroup // of the thread

	mu     sync.Mutex
	drops  map[drop]bool
	closed bool
}

// NewHost makes a host and connects it. The caller must Close it.
func NewHost() (_ *Host, err error) {
	if err := inside(); err != nil {
		return nil, err
	}
	n := int(hosts.Add(1)) - 1
	if n >= maxHosts {
		return nil, errors.New("there are no more addresses for hosts")
	}
	block := func(i int) string { return fmt.Sprintf("198.19.%d.%d", n>>6, n<<2&0xff+i) }
	gateway := block(1)
	h := &Host{cable: fmt.Sprintf("host%d", n), addr: block(2), tasks: make(chan func()), drops: map[drop]bool{}}
	if err := h.inhabit(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	err = ip(
		fmt.Sprintf("link add name %s address %s type veth peer name eth0 address %s netns /proc/%d/fd/%d",
			h.cable, testsMAC, hostMAC, os.Getpid(), h.space.Fd()),
		"address add "+gateway+"/30 dev "+h.cable,
		"link set "+h.cable+" up",
		"neighbour replace "+h.addr+" lladdr "+hostMAC+" dev "+h.cable+" nud permanent",
	)
	if err != nil {
		return nil, err
	}
	return h, h.ip(
		"link set lo up",
		"address add "+h.addr+"/30 dev eth0",
		"link set eth0 up",
		"neighbour replace "+gateway+" lladdr "+testsMAC+" dev eth0 nud permanent",
		"route add default via "+gateway,
		"rule add pref "+localRule+" lookup local",
		"rule del pref 0",
	)
}

// inhabit starts the thread that lives in the namespace. Commands get their death signal when it ends.
func (h *Host) inhabit() error {
	made := make(chan error, 1)
	h.group.Go(onThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.space, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
		if err != nil {
			return
		}
		for task := range h.tasks {
			task()
		}
	}))
	if err := <-made; err != nil {
		h.group.Wait()
		return fmt.Errorf("make a host: %w", err)
	}
	return nil
}

// onThread makes f run on a thread that ends with it: after f it is in another namespace. The main thread can't end, and
// is where /proc looks for the namespace of the process, so it stays as it is.
func onThread(f func()) func() {
	return func() {
		runtime.LockOSThread() // unlocked never: that ends the thread with the goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		var group conc.WaitGroup
		group.Go(onThread(f)) // on another one, since this one is taken
		group.Wait()
		runtime.UnlockOSThread()
	}
}

// Addr is the host's own address.
func (h *Host) Addr() string { return h.addr }

// do runs f on the host's thread: the commands that it starts and the sockets that it opens belong to the host.
func (h *Host) do(f func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.doLocked(f)
}

func (h *Host) doLocked(f func() error) error {
	if h.closed {
		return errors.New("the host is closed")
	}
	done := make(chan error, 1)
	h.tasks <- func() { done <- f() }
	return <-done
}

func (h *Host) ip(commands ...string) error { return h.do(func() error { return ip(commands...) }) }

// Start starts a command on the host, in place of cmd.Start. The command is killed when the host is closed or the test
// ends; waiting for it remains the caller's.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return h.do(cmd.Start)
}

// DialContext connects from within the host, so that its own loopback addresses are reached too. The address must be a
// literal one.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.visit(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on an address of the host.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	var listener net.Listener
	err := h.visit(func() (err error) {
		listener, err = net.Listen(network, address)
		return err
	})
	return listener, err
}

// visit runs f on a thread that enters the namespace for it and ends, so that one that blocks holds up nothing.
func (h *Host) visit(f func() error) error {
	var err error
	var group conc.WaitGroup
	group.Go(onThread(func() {
		if err = unix.Setns(int(h.space.Fd()), unix.CLONE_NEWNET); err == nil {
			err = f()
		}
	}))
	group.Wait()
	return err
}

// Close removes the host and kills what runs on it. It may be called twice.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	healed := h.set(map[drop]bool{})
	h.closed = true
	close(h.tasks)
	h.group.Wait()
	// The namespace would take its end of the cable along, but only some time after its last process.
	return errors.Join(healed, ip("link del "+h.cable), h.space.Close())
}
