//go:build noterm

package pg

import "time"

// leaseCallTimeout is endless here: a call that is given up ends the session, and with it the leases that are to have no
// deadline.
const leaseCallTimeout = time.Hour
