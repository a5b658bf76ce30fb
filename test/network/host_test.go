//go:build linux

package network_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fedsender/fedsender/test/network"
)

// lost waits until what was written to the connection has been sent again without an answer.
func lost(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	ok(t, err)
	deadline := time.Now().Add(20 * time.Second)
	for {
		var info *unix.TCPInfo
		ok(t, raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
		ok(t, err)
		if info.State != unix.BPF_TCP_ESTABLISHED {
			t.Fatalf("the connection is in state %d", info.State)
		}
		if info.Retransmits > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("what was written arrived")
		}
	}
}

func TestHost_ReachesTheDatabaseAndTheFediverse(t *testing.T) {
	h := newHost(t)
	for _, address := range []string{network.Database, network.Fediverse} {
		p := connect(t, h, address)
		if host, _, _ := net.SplitHostPort(p.server.RemoteAddr().String()); host != h.Addr() {
			t.Errorf("comes from %s, want %s", host, h.Addr())
		}
		p.write(p.host, 'a')
		p.arrives(p.server, 'a')
		p.write(p.server, 'b')
		p.arrives(p.host, 'b')
	}
}

func TestHost_HasALoopbackOfItsOwn(t *testing.T) {
	h := newHost(t)
	listener, err := h.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	conn, err := h.DialContext(t.Context(), "tcp", listener.Addr().String())
	ok(t, err)
	ok(t, conn.Close())
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("its loopback is ours")
	}
}

func TestHost_VanishIsSilentAndReturnBringsWhatWasSentMeanwhile(t *testing.T) {
	h := newHost(t)
	p := connect(t, h, network.Database)
	ok(t, h.Vanish())
	p.write(p.host, 'a')
	p.write(p.server, 'b')
	lost(t, p.host)
	lost(t, p.server)
	var timeout net.Error
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"from the host": h.DialContext, "to the host": (&net.Dialer{}).DialContext,
	} {
		address := map[string]string{"from the host": network.Fediverse, "to the host": h.Addr()}[name]
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if conn, err := dial(ctx, "tcp", address+":9"); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a connection %s: %v, %v; want silence", name, conn, err)
		}
		cancel()
	}
	ok(t, h.Return())
	p.arrives(p.server, 'a')
	p.arrives(p.host, 'b')
}

func TestHost_DropsToTheDatabaseOnly(t *testing.T) {
	h := newHost(t)
	p, fedi := connect(t, h, network.Database), connect(t, h, network.Fediverse)
	ok(t, h.DropToDatabase())
	p.write(p.server, 'b')
	p.arrives(p.host, 'b')
	p.write(p.host, 'a')
	lost(t, p.host)
	lost(t, p.server) // of the answer, that it arrived
	fedi.write(fedi.host, 'c')
	fedi.arrives(fedi.server, 'c')
	ok(t, h.Heal())
	p.arrives(p.server, 'a')
}

func TestHost_DropsFromTheDatabaseOnly(t *testing.T) {
	h := newHost(t)
	other := newHost(t)
	p, fedi, others := connect(t, h, network.Database), connect(t, h, network.Fediverse), connect(t, other, network.Database)
	ok(t, h.DropFromDatabase())
	p.write(p.host, 'a')
	p.arrives(p.server, 'a')
	p.write(p.server, 'b')
	lost(t, p.server)
	fedi.write(fedi.server, 'c')
	fedi.arrives(fedi.host, 'c')
	others.write(others.server, 'd')
	others.arrives(others.host, 'd')
	ok(t, h.Heal())
	p.arrives(p.host, 'b')
}

func TestHost_CloseKillsWhatRunsOnItAndRemovesItsCable(t *testing.T) {
	h := newHost(t)
	sleep := exec.Command("sleep", "1000")
	ok(t, h.Start(sleep))
	ok(t, h.Vanish())
	ok(t, h.Close())
	var exit *exec.ExitError
	if err := sleep.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the command ended with %v", err)
	}
	devices, err := net.Interfaces()
	ok(t, err)
	if len(devices) != 1 {
		t.Errorf("there are %d devices", len(devices))
	}
	rules, err := exec.CommandContext(t.Context(), "ip", "-4", "rule").Output()
	ok(t, err)
	if n := len(rules); n == 0 || string(rules[:4]) != "100:" {
		t.Errorf("rules are left:\n%s", rules)
	}
}
