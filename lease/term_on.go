//go:build !noterm

package lease

// termEndless is what the build tag noterm turns on, to show that the tests see two holders of one instance when leases
// have no deadline.
const termEndless = false
