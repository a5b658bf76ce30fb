//go:build unix

package deliver

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// probe looks at a socket without waiting.
type probe struct {
	on bool // reads of the connection do not wait

	raw     syscall.RawConn // nil: not a socket
	receive func(fd uintptr)
	first   [1]byte
	p       []byte
	flags   int
	n       int
	err     error
}

func (p *probe) init(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return // it is closed, as reading will show
	}
	p.raw = raw
	p.receive = func(fd uintptr) {
		for {
			if p.n, _, p.err = syscall.Recvfrom(int(fd), p.p, p.flags|syscall.MSG_DONTWAIT); !errors.Is(p.err, syscall.EINTR) {
				return
			}
		}
	}
}

// silent says that there is nothing to read, not even the end. It takes one call of the kernel.
func (p *probe) silent() bool {
	_, err := p.recv(p.first[:], syscall.MSG_PEEK)
	_, nothing := err.(nothingYet)
	return nothing
}

func (p *probe) read(b []byte) (int, error) { return p.recv(b, 0) }

func (p *probe) recv(b []byte, flags int) (int, error) {
	if p.raw == nil {
		return 0, nothingYet{} // what was not seen is found out by using the connection
	}
	p.p, p.flags = b, flags
	// Control and not Read, which would fail after a deadline that has passed meanwhile.
	err := p.raw.Control(p.receive)
	p.p = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(p.err, syscall.EAGAIN):
		return 0, nothingYet{}
	case p.err != nil:
		return 0, p.err
	case p.n == 0:
		return 0, io.EOF
	}
	return p.n, nil
}
