package chaos

import (
	"context"
	"time"

	"github.com/fedsender/fedsender/test/postgres"
)

// fault is one thing that breaks, in one way.
type fault struct {
	number int // in the list of what is tried; several ways may share one
	name   string
	stage  *stage
	group  string // in the short form those of one group are tried on one fleet, and groups side by side
	short  int    // how often in the short form; 0: it takes too long
	long   int    // at least 30 for each number, 10 where it takes over 30 s
	// bound is how long it may take until every instance is held again, counted from since.
	bound time.Duration
	since moment
	// harmless: it may cost no duplicate.
	harmless bool
	// strike does it, heals it, and returns how long it took until every instance was held again.
	strike func(ctx context.Context, s *storm) time.Duration
}

// moment is what a time is counted from.
type moment string

const (
	fromFault  moment = "the fault"
	fromMended moment = "its end"
)

// Bounds of what the design promises, and of what follows from its constants.
const (
	afterKill   = time.Second
	afterVanish = 15 * time.Second
	// afterHang is half a minute of silence, a heartbeat of those who end the session, and a takeover.
	afterHang = 34 * time.Second
	// afterOutage: processes wait for up to 5 s between two tries to reach a database.
	afterOutage = 7 * time.Second
	// afterReturn: a process that found its database silent may be in the middle of a try that takes 5 s, and then waits.
	afterReturn = 10 * time.Second
)

// faults are tried in this order.
var faults = []fault{
	{1, "kill", hosts, "processes", 2, 30, afterKill, fromFault, false, kill},
	{2, "sigterm", hosts, "processes", 2, 30, afterKill, fromFault, true, terminate},
	{3, "frozen-3s", hosts, "processes", 1, 10, afterOutage, fromMended, false, frozen(3 * time.Second)},
	{3, "frozen-8s", hosts, "processes", 1, 10, afterOutage, fromMended, false, frozen(8 * time.Second)},
	{3, "frozen-20s", hosts, "clocks", 1, 10, afterOutage, fromMended, false, frozen(20 * time.Second)},
	{3, "frozen-60s", hosts, "", 0, 10, afterHang, fromFault, false, frozen(60 * time.Second)},
	{4, "host-vanishes", hosts, "paths", 1, 30, afterVanish, fromFault, false, vanish},
	{5, "link-back-4s", hosts, "paths", 1, 10, afterReturn, fromMended, false, linkBack(4 * time.Second)},
	{5, "link-back-8s", hosts, "paths", 1, 10, afterReturn, fromMended, false, linkBack(8 * time.Second)},
	{5, "link-back-30s", hosts, "", 0, 10, afterVanish, fromFault, false, linkBack(30 * time.Second)},
	{6, "path-to-database", hosts, "oneway", 1, 15, afterVanish, fromFault, false, oneWay(true)},
	{6, "path-from-database", hosts, "oneway", 1, 15, afterVanish, fromFault, false, oneWay(false)},
	{7, "latency", proxied, "proxied", 2, 30, afterReturn, fromMended, false, latency},
	{8, "lease-backend-ended", hosts, "processes", 2, 30, afterOutage, fromFault, false, endLeaseBackend},
	{9, "every-backend-ended", hosts, "processes", 2, 30, afterOutage, fromFault, false, endEveryBackend},
	{10, "postgres-restart", hosts, "database", 1, 30, afterOutage, fromMended, false, restart(postgres.Fast)},
	{11, "postgres-crash", hosts, "database", 1, 30, afterOutage, fromMended, false, restart(postgres.Immediate)},
	{12, "promotion", replicated, "promotion", 1, 30, afterOutage, fromMended, false, promote},
	{13, "pgbouncer-restart", proxied, "proxied", 2, 30, afterOutage, fromMended, false, restartPooler},
	{14, "clock-ahead-1h", hosts, "clocks", 1, 15, afterOutage, fromFault, false, jump(time.Hour)},
	{14, "clock-back-1h", hosts, "clocks", 1, 15, afterOutage, fromFault, false, jump(-time.Hour)},
	{15, "disk-full", tight, "disk", 1, 30, afterOutage, fromMended, false, fillDisk},
	{16, "connections-exhausted", hosts, "database", 1, 30, afterOutage, fromMended, false, exhaustConnections},
	{17, "lock-table-full", hosts, "database", 1, 30, afterOutage, fromMended, false, exhaustLocks},
	{18, "queue-state-locked", hosts, "database", 1, 15, afterOutage, fromMended, true, lockTable("fedsender.queue_state")},
	// Two faults at one time: what is lost must be bounded however long nothing can be saved.
	{18, "queue-state-locked-kill", hosts, "database", 1, 10, afterOutage, fromMended, false, killUnsaved},
	{18, "activity-locked", hosts, "database", 1, 15, afterOutage, fromMended, true, lockTable("fedsender.activity")},
}
