package chaos

import (
	"context"
	"time"

	"github.com/fedsender/fedsender/lease"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/network"
)

// vanish has a host go for good: no packet of it tells anybody.
func vanish(ctx context.Context, s *storm) time.Duration {
	victim, host := s.hosted()
	held := s.backend(ctx, victim)
	i := s.suffer(victim.Name)
	i.silenced = true
	s.do(host.Vanish)
	i.struck()
	took := s.takeover(ctx, i.at, held)
	victim.Kill()
	i.over()
	s.bury(ctx, host)
	s.abandon(victim.Name)
	return took
}

// bury ends what is left of a host that has vanished for good, as an administrator may: only lease sessions notice it soon.
func (s *storm) bury(ctx context.Context, host *network.Host) {
	s.t.Helper()
	_, err := s.DB.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where client_addr = $1::inet`, host.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
}

// hosted is a victim and its host.
func (s *storm) hosted() (*fleet.Sender, *network.Host) {
	s.t.Helper()
	victim := s.victim()
	host := s.hosts[victim.Name]
	if host == nil {
		s.t.Fatalf("%s has no host", victim.Name)
	}
	return victim, host
}

func (s *storm) do(change func() error) {
	s.t.Helper()
	if err := change(); err != nil {
		s.t.Fatal(err)
	}
}

// linkBack has a host return. What it had sent when it vanished must not arrive then if another one delivers by now.
func linkBack(after time.Duration) func(context.Context, *storm) time.Duration {
	return func(ctx context.Context, s *storm) (took time.Duration) {
		victim, host := s.hosted()
		held := s.backend(ctx, victim)
		i := s.suffer(victim.Name)
		i.silenced = true
		s.do(host.Vanish)
		i.struck()
		if after > afterVanish {
			took = s.takeover(ctx, i.at, held)
		}
		wait(ctx, time.Until(i.at.Add(after)))
		back := time.Now()
		s.do(host.Return)
		again := s.working(ctx, victim, back)
		i.over() // what was on its way may have come until then, and the lease may have ended
		if after > afterVanish {
			return took
		}
		return again
	}
}

// oneWay has packets between a process and its database vanish in one direction; the receivers are reached all the time.
func oneWay(to bool) func(context.Context, *storm) time.Duration {
	return func(ctx context.Context, s *storm) time.Duration {
		victim, host := s.hosted()
		held := s.backend(ctx, victim)
		i := s.suffer(victim.Name)
		cut := host.DropFromDatabase
		if to {
			cut = host.DropToDatabase
		}
		s.do(cut)
		took := s.takeover(ctx, i.at, held)
		// It works until its deadline, which is before the others can have its leases.
		i.struck()
		i.lost = i.at.Add(lease.Term)
		s.do(host.Heal)
		s.working(ctx, victim, i.end)
		i.over()
		return took
	}
}
