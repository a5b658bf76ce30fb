//go:build linux

package network_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fedsender/fedsender/test/network"
)

// role is what a run of this binary does that a test has started.
const role = "FEDSENDER_TEST_NETWORK_ROLE"

func TestMain(m *testing.M) {
	if err := network.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	switch os.Getenv(role) {
	case "exit":
		fmt.Println("inside with", os.Args[1])
		os.Exit(7)
	case "wait":
		waitInside()
	}
	goleak.VerifyTestMain(m)
}

// waitInside tells which namespaces it has, one with a command in it, and waits to be ended.
func waitInside() {
	h, err := network.NewHost()
	if err != nil {
		panic(err)
	}
	sleep := exec.Command("sleep", "1000")
	if err := h.Start(sleep); err != nil {
		panic(err)
	}
	for _, pid := range []int{os.Getpid(), sleep.Process.Pid} {
		space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			panic(err)
		}
		fmt.Println(space)
	}
	select {}
}

// again runs this binary as `go test` does, outside.
func again(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	for _, entry := range os.Environ() {
		if len(entry) < 30 || entry[:30] != "FEDSENDER_TEST_OUTSIDE_NETWORK" {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, role+"="+what)
	cmd.Stderr = t.Output()
	return cmd
}

func newHost(t *testing.T) *network.Host {
	t.Helper()
	h, err := network.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a connection from a host.
type pair struct {
	t            *testing.T
	host, server *net.TCPConn
}

// connect connects the host to a fresh listener on the address.
func connect(t *testing.T, h *network.Host, address string) *pair {
	t.Helper()
	listener, err := net.Listen("tcp", address+":0")
	ok(t, err)
	defer listener.Close()
	client, err := h.DialContext(t.Context(), "tcp", listener.Addr().String())
	ok(t, err)
	server, err := listener.Accept()
	ok(t, err)
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return &pair{t, client.(*net.TCPConn), server.(*net.TCPConn)}
}

// arrives waits for a byte that was written to from.
func (p *pair) arrives(to *net.TCPConn, want byte) {
	p.t.Helper()
	ok(p.t, to.SetReadDeadline(time.Now().Add(20*time.Second)))
	var got [1]byte
	if _, err := io.ReadFull(to, got[:]); err != nil || got[0] != want {
		p.t.Errorf("got %q, %v, want %q", got[0], err, want)
	}
}

func (p *pair) write(from *net.TCPConn, what byte) {
	p.t.Helper()
	_, err := from.Write([]byte{what})
	ok(p.t, err)
}
