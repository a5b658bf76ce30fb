package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// waitForHangup returns nil once the other side has closed conn, the error of ctx when that ends, or why it can't watch.
// It waits on a duplicate of the socket for its end alone, so it neither reads nor stands in the way of who does. The
// duplicate keeps the socket open: ctx must end when conn is closed on this side.
func waitForHangup(ctx context.Context, conn net.Conn) error {
	socket, err := duplicate(conn)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	bell, err := newPollBell()
	if err != nil {
		return err
	}
	defer bell.close()
	defer context.AfterFunc(ctx, bell.ring)()
	fds := []unix.PollFd{{Fd: int32(socket), Events: unix.POLLRDHUP}, {Fd: int32(bell.fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("poll: %w", err)
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && fds[0].Revents != 0:
			return nil
		}
	}
}

// duplicate returns a second descriptor of the socket under conn, TLS or not.
func duplicate(conn net.Conn) (int, error) {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = outer.NetConn()
	}
	inner, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no socket", conn)
	}
	raw, err := inner.SyscallConn()
	if err != nil {
		return -1, err
	}
	socket, failed := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		socket, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	return socket, errors.Join(err, failed)
}

// pollBell wakes a poll. It may be rung after it was closed.
type pollBell struct {
	mu     sync.Mutex
	fd     int
	closed bool
}

func newPollBell() (*pollBell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &pollBell{fd: fd}, nil
}

func (b *pollBell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		_, _ = unix.Write(b.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func (b *pollBell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	_ = unix.Close(b.fd)
}
