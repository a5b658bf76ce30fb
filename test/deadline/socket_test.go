//go:build linux

package deadline

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// socket is a line of /proc/PID/net/tcp (proc(5)).
type socket struct{ local, remote, queues string }

func localPort(address net.Addr) func(socket) bool {
	return func(s socket) bool { return hasPort(s.local, address.(*net.TCPAddr).Port) }
}

func remotePort(t *testing.T, address string) func(socket) bool {
	t.Helper()
	resolved, err := net.ResolveTCPAddr("tcp", address)
	ok(t, err)
	return func(s socket) bool { return hasPort(s.remote, resolved.Port) }
}

func hasPort(address string, port int) bool {
	return strings.HasSuffix(address, fmt.Sprintf(":%04X", port))
}

// unsent is how many bytes the kernel holds at most of what was written to one of the wanted sockets of a process's
// network, those that the process has closed included; -1: there is no such socket.
func unsent(t *testing.T, pid int, wanted func(socket) bool) int {
	t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	ok(t, err)
	most := -1
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if s := (socket{fields[1], fields[2], fields[4]}); wanted(s) {
			n, err := strconv.ParseInt(s.queues[:8], 16, 64)
			ok(t, err)
			most = max(most, int(n))
		}
	}
	return most
}
