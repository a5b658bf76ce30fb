//go:build !unix

package deliver

import "net"

// probe can't look at a socket without waiting here: what is closed is found out by using it.
type probe struct{ on bool }

func (*probe) init(net.Conn) {}

func (*probe) silent() bool { return true }

func (*probe) read([]byte) (int, error) { return 0, nothingYet{} }
