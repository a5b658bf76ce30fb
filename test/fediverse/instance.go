package fediverse

import "sync/atomic"

// Instance is one simulated server. Its methods are safe for several goroutines and take effect with the next
// request, or the next connection.
type Instance struct {
	domain    string
	behaviour atomic.Pointer[Behaviour]
	link      atomic.Int32
}

// Domain is its name, in lower case.
func (i *Instance) Domain() string { return i.domain }

// SetBehaviour says how it answers; nil makes it behave as the default does.
func (i *Instance) SetBehaviour(behaviour Behaviour) {
	if behaviour == nil {
		i.behaviour.Store(nil)
		return
	}
	i.behaviour.Store(&behaviour)
}

// SetAnswer makes it give the same answer to everything.
func (i *Instance) SetAnswer(answer Answer) { i.SetBehaviour(Always(answer)) }

// SetLink says what it does with connections. Connections that are open go on, but for Down, which resets them with
// their next request.
func (i *Instance) SetLink(link Link) { i.link.Store(int32(link)) }

func (i *Instance) currentLink() Link { return Link(i.link.Load()) }
