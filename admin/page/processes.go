package page

import (
	"context"
	"net/http"
	"strings"

	"github.com/fedsender/fedsender/pg"
)

// process is a row of the list.
type process struct {
	*pg.NamedProcess
	Here   bool   // it serves this page
	Hung   bool   // its instances wait
	Remedy string // what ends that

}

type processList struct {
	Fleet *Snapshot
	Rows  []process
	Held  int
	Load  float64
}

func (p *Page) listProcesses(ctx context.Context, _ *http.Request) (any, error) {
	s, err := p.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return p.processesOf(s), nil
}

func (p *Page) processesOf(s *Snapshot) *processList {
	list := &processList{Fleet: s}
	for i := range s.Processes {
		one := &s.Processes[i]
		row := process{NamedProcess: one, Here: one.Name == p.Name, Hung: one.Hangs()}
		if row.Hung {
			row.Remedy = remedy(one)
		}
		list.Held += one.Leases
		list.Load += one.Load
		list.Rows = append(list.Rows, row)
	}
	return list
}

// remedy is what ends the session of a process that hangs, so that others take over.
func remedy(one *pg.NamedProcess) string {
	end := "select pg_terminate_backend(" + count(int64(one.PID)) + ")"
	end = strings.ReplaceAll(end, ",", "")
	switch {
	case one.EndedByOthers():
		return "The others end its session after 30 s, if their role may. To end it now: " + end
	case one.MayEnd:
		return "End its session: " + end
	}
	return "End its session as role " + one.Role + " or a superuser: " + end
}
