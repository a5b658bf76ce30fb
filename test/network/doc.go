// Package network gives tests a network of their own and hosts that can vanish from it.
//
// [Enter] runs the test binary again inside a network namespace that holds nothing but a loopback device, so that
// nothing which a test does reaches the machine's network. A [Host] is a further namespace at the end of a cable, for
// one sender. Only the way between them can be disturbed, and silently: what is dropped is dropped where it arrives, so
// that neither side gets a reset, an ICMP message or an error of its own kernel.
//
// Namespaces end with the last process in them, and commands on a Host end with it: a test that is killed leaves
// nothing behind. It needs Linux, `ip` of iproute2, and root or unprivileged user namespaces.
package network

// Addresses of the tests' namespace that every [Host] reaches (RFC 2544: for benchmarks, routed nowhere). There are two,
// so that the way to the database can be cut while the receivers stay.
const (
	Database  = "198.18.0.1"
	Fediverse = "198.18.0.2"
	// Range holds all addresses of this package.
	Range = "198.18.0.0/15"
)
