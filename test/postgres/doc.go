// Package postgres starts private Postgres servers for tests and for the demo: real ones, each with its own data
// directory, port of 127.0.0.1 and Unix socket. A server can have replicas, and a small disk that becomes full.
//
// It promises that a server which was closed leaves nothing behind: no process, no directory, no shared memory. One
// whose owner was killed ends with it (Linux, PR_SET_PDEATHSIG), and the next Start anywhere removes its directory.
//
// Postgres refuses to run as root. Started by root, it runs as the user nobody.
package postgres
