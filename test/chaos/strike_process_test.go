package chaos

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
)

func kill(ctx context.Context, s *storm) time.Duration {
	victim := s.victim()
	lease := s.backend(ctx, victim)
	i := s.suffer(victim.Name)
	i.silenced = true
	victim.Kill()
	i.struck()
	took := s.takeover(ctx, i.at, lease)
	s.abandon(victim.Name)
	return took
}

// terminate is no incident: it excuses nothing.
func terminate(ctx context.Context, s *storm) time.Duration {
	victim := s.victim()
	began := time.Now()
	s.moves = append(s.moves, began)
	s.stopInTime(ctx, victim)
	took := s.takeover(ctx, began, 0)
	s.abandon(victim.Name)
	return took
}

// frozen has a process stand still. It must send nothing under its leases when it goes on if they have become too old,
// although its session has lived all the time. After half a minute it loses the session.
func frozen(still time.Duration) func(context.Context, *storm) time.Duration {
	return func(ctx context.Context, s *storm) (took time.Duration) {
		victim := s.victim()
		lease := s.backend(ctx, victim)
		i := s.suffer(victim.Name)
		i.silenced = true
		s.signal(victim, syscall.SIGSTOP)
		i.struck()
		if still > afterHang {
			took = s.takeover(ctx, i.at, lease)
		}
		wait(ctx, time.Until(i.at.Add(still)))
		i.woken = time.Now()
		s.signal(victim, syscall.SIGCONT)
		again := s.working(ctx, victim, i.woken)
		i.end = i.woken
		if now, began := s.leaseSession(ctx, victim); now != lease {
			i.renewed = began
		}
		if still > afterHang {
			return took
		}
		return again
	}
}

func (s *storm) signal(sender *fleet.Sender, sig syscall.Signal) {
	s.t.Helper()
	if err := sender.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// leaseSession returns the backend of a sender's lease session and when it began.
func (s *storm) leaseSession(ctx context.Context, sender *fleet.Sender) (pid int, began time.Time) {
	s.t.Helper()
	pid = s.backend(ctx, sender)
	if err := s.DB.QueryRow(ctx, `select backend_start from pg_stat_activity where pid = $1`, pid).Scan(&began); err != nil {
		s.t.Fatal(err)
	}
	return pid, began
}

// jump sets the wall clock of a process, and after a while sets it right again.
func jump(by time.Duration) func(context.Context, *storm) time.Duration {
	return func(ctx context.Context, s *storm) time.Duration {
		victim := s.victim()
		i := s.suffer(victim.Name)
		s.setClock(victim, by)
		i.struck()
		took := s.working(ctx, victim, i.at.Add(clockRead))
		wait(ctx, s.between(clockRead, 2*time.Second))
		i.over()
		back := s.suffer(victim.Name)
		s.setClock(victim, 0)
		back.struck()
		return max(took, s.working(ctx, victim, back.at.Add(clockRead)))
	}
}

// clockRead is how long a process may go by the clock that it read before.
const clockRead = 200 * time.Millisecond

func (s *storm) setClock(sender *fleet.Sender, offset time.Duration) {
	s.t.Helper()
	file := filepath.Join(s.clocks, sender.Name)
	fresh := file + ".new"
	err := os.WriteFile(fresh, []byte(offset.String()), 0o600)
	if err == nil {
		err = os.Rename(fresh, file) // whole at any moment
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
