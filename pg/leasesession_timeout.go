//go:build !noterm

package pg

import "time"

// leaseCallTimeout bounds one call on the server and the network. The lease's term holds two that take all of it.
const leaseCallTimeout = 2 * time.Second
