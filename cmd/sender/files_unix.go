//go:build unix

package main

import "golang.org/x/sys/unix"

// openFiles is how many files and sockets a process may have open. Go raises the soft limit to the hard one by itself.
func openFiles() (most uint64, known bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return uint64(limit.Max), true
}
