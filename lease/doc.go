// Package lease decides who may deliver to which instance. For any single fault at most one process
// holds an instance at any moment, and while processes come and go each soon holds its fair share.
//
// # Safety
//
// A lease is a session-level advisory lock; all locks of a process sit on one [Session]. The server gives them to
// another when that session ends, so who holds them must have stopped by then. Let S be the start of a round trip that
// the server answered, and R when it received the statement.
//
//   - We send until S + 6 s ([Term]), by the monotonic and by the wall clock, whichever is stricter: [Keeper.Valid].
//   - The server ends a session that it does not hear 10 s after what it last received (tcp_keepalives_idle 6 s, two
//     probes 2 s apart; tcp_user_timeout 10 s where it has sent something), so not before R + 10 s. R is later than S:
//     the holder stopped at least 4 s earlier, whatever the clocks of the two machines show. Measured: 9.1 s after a
//     link was cut, up to one heartbeat of 2 s after R; test/deadline measures from R.
//   - Heartbeats come every 2 s (400 ms on a sentinel) and a call is given up after 2 s, so that one may be late and
//     another fail within a term. A call that is given up ends the session, mostly long before the term.
//   - A session that the server ends itself (pg_terminate_backend, restart, crash) closes the socket, and [Session.Wait]
//     sees that when it arrives. Others lock nothing for 250 ms after a process vanished without a farewell, and wait as
//     long with what they locked before they knew, so the news may take so long, however far that process is.
//   - A process that hangs keeps its session, and nobody can have its instances, for 30 s without a heartbeat; then the
//     others end it, and take them when the session is gone. Its term passed 24 s before. After 10 s they plan without it.
//
// Who sends asks [Keeper.Valid] before each write to a socket, for the Keeper under which the delivery began, and works
// under [Keeper.Context]. So what was signed or queued before does not leave after the end, and a new Keeper lets no
// old request through. A false is final: a lost Keeper holds nothing, and the next begins with nothing, on another
// session. When the context ends, connections with a request are reset, so that the kernel discards what it has not
// sent. Cursors are written on the session that holds the locks: Postgres ends a session's transaction before it gives up
// its locks, so no cursor moves after another process may have read it.
//
// # What that assumes
//
//   - One of the two clocks runs at 0.6 of its rate or more. A machine that was suspended shows it on the wall clock; a
//     wall clock that is set forward ends the term, one that is set back changes nothing.
//   - The server's clock may be set at any time: nobody's session is ended for a silence of which 10 s were not watched.
//   - Packets may be lost, late and cut off in one direction or both. Of a TCP connection that is reset no data arrive
//     later than a packet lives.
//   - The server applies the settings of the session. Where it or a pooler does not, that is logged with what it costs.
//     A Unix socket has no link to lose.
//
// # What it does not cover
//
//   - A process that is frozen between its last look at the clocks and the write that follows, some 100 ns of a delivery's
//     milliseconds. When it goes on, that write leaves: at most one request a connection, and no more than processors at one
//     moment. And what a frozen or suspended machine's kernel had taken before, of requests whose receiver does
//     not read on or whose link was down: it is sent however long the process stands still, again at most one request a
//     connection. A frozen process is its instances' holder for 30 s of that, a suspended machine for 10 s.
//   - A wall clock that jumps is seen at the next write or heartbeat. Until then nothing is written; answers are waited for.
//   - Pairs of faults: a suspended machine whose wall clock is set back by as much; a session that is terminated on a link
//     that loses the news, or takes more than the 250 ms for it; one that is terminated while its process leaves, which
//     others do not wait for, or while another one begins that has not seen it.
//   - Two servers, each with a table of locks of its own. When a server falls silent and another one takes its place, who
//     had a session lets a [Term] pass before the next one (package sender). A process that is first started in these
//     seconds can't know of the leases there. Two primaries that both take writes are not covered at all.
//   - A pooler between (session mode) hides the process from the server. If the process's host vanishes its locks stay
//     until the pooler notices or the others have ended the session, 30 s later: late, but safe. If the pooler's own host
//     vanishes it is as above.
//
// # Balance
//
// Balance is a preference and never trades safety. Who is present is read from the sessions, and with it how many
// leases each takes and which version of the [Weights] it plans with. Every process computes the same owner for each
// instance from that ([assign]): no load above its fair share and a tenth or the heaviest single instance, as far as
// whole instances allow, no number above its owner's limit, and about 1/n of the instances moved when a process joins or
// leaves. Each process tries to lock what it owns. What it holds of another present owner it drains, and then unlocks it and
// rings for that owner in one round trip; the owner locks it in another, at most 15 ms after the last time that it did so, or
// as long after it as that took. Who leaves drains at once and tells the others meanwhile. What nobody took in 5 s is
// anyone's, asked for by one process after the other, so that no two try the same.
//
// A [Judge] makes the next weights of what all processes report. Any process may, and the first one does; all plan with the
// highest version that somebody shows, so who takes an instance plans with what the one did who gave it up.
//
// The three present processes with the lowest ids are sentinels: they beat every 400 ms, whatever the size of
// the fleet, and ring for the others when membership changed. A crash is seen in at most 0.5 s. One that is alone has nobody
// to watch for, unless a session that fell silent still keeps leases.
//
// # Turns
//
// With more instances than the lock table's budget or MaxLeases allow, a process holds those with work, which a [Waiter]
// knows, by turns of 10 s, and visits the others. With B instances that have work or are due for a visit and L locks, one
// with work waits at most about ceil(B/L) turns, each with a hand-over (as long as its slowest delivery, 8 s at most, and as long
// as somebody keeps its cursor locked). One
// without known work is visited every ceil(own/L) minutes, a turn, and such a wait: what was there before the process began, or
// was known to another owner only, is found so; at once where there is room without work. Who backs off, is paused or
// dead has no work until its next try. Sessions that are about to end count as holders, and who joins a fleet that is
// short of locks waits 10 s, so the budget is never exceeded.
//
// The package knows no SQL, no HTTP and no queue: [Session] and [Handler] are given to it.
package lease
