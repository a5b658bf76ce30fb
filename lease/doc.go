// Package lease decides who may deliver to which instance. For any single fault at most one process
// holds an instance at any moment, and while processes come and go each soon holds its fair share.
//
// # Safety
//
// A lease is a session-level advisory lock; all locks of a process sit on one [Session]. The server gives
// them up when that session ends, so a [Keeper] must stop before the server can notice that it is gone:
//
//   - A heartbeat every 2 s (400 ms on a sentinel). Each good round trip proves that the session lived when
//     the server answered, and makes the leases good until its *start* + 6 s ([Term]), by the monotonic and
//     by the wall clock, whichever ends first: one of them stands still while a machine is suspended.
//   - The server's last packet from us is younger than that start. It ends a silent session 10 s after the
//     last packet (tcp_keepalives_idle 6 s, two probes 2 s apart; measured 9.1 s): 3 s after we stopped.
//   - A session that the server ends itself (pg_terminate_backend, restart, crash of the server process)
//     closes the socket. [Session.Wait] sees that when it arrives, not at the next heartbeat. The others lock nothing
//     for 250 ms after a process vanished without a farewell, so that it knows before they send, however far it is.
//   - A process that hangs keeps its session. The others end it after 30 s without a heartbeat: by then its
//     own deadline passed 24 s ago, and [Keeper.Valid] compares the clocks itself, so that a process which
//     wakes up sends nothing even before its timers fire.
//
// Who sends must therefore ask [Keeper.Valid] right before each request and make it with a child of
// [Keeper.Context]. A lost Keeper never becomes valid again: make another one on a new session.
// Not covered: two faults at once, such as a server host that vanishes while another one takes its place
// within 6 s.
//
// # Balance
//
// Balance is a preference and never trades safety. Who is present is read from the sessions, and with it how many
// leases each takes and which version of the [Weights] it plans with. Every process computes the same owner for each
// instance from that ([assign]): no load above its fair share and a tenth or the heaviest single instance, as far as
// whole instances allow, no number above its owner's limit, and about 1/n of the instances moved when a process joins or
// leaves. Each process tries to lock what it owns; it drains, unlocks and rings for what it holds of another present
// owner. What nobody took in 5 s is anyone's, asked for by one process after the other, so that no two try the same.
//
// A [Judge] makes the next weights of what all processes report. Any process may; all plan with the highest version that
// somebody shows, so who takes an instance plans with what the one did who gave it up.
//
// The three present processes with the lowest ids are sentinels: they beat every 400 ms, whatever the size of
// the fleet, and ring for the others when membership changed. A crash is seen in at most 0.5 s.
//
// The package knows no SQL, no HTTP and no queue: [Session] and [Handler] are given to it.
package lease
