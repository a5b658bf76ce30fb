//go:build !linux

package pg

import (
	"context"
	"net"
)

// waitForHangup waits for ctx: without POLLRDHUP, an end of the connection is seen by the next call on it.
func waitForHangup(ctx context.Context, _ net.Conn) error {
	<-ctx.Done()
	return ctx.Err()
}
