// Package pgbouncer starts a real PgBouncer in front of a private Postgres server, for tests of what poolers do to
// leases and to statements.
//
// It runs as the user of the server, on a port of 127.0.0.1 of its own. What it has goes with the server's directory.
package pgbouncer
