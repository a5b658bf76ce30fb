//go:build !noterm

package sender

// sendsUnsaved is what the build tag noterm turns on: a process that stopped for want of a save would not show that the
// deadline of the leases was off.
const sendsUnsaved = false
