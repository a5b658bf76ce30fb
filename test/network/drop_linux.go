package network

import (
	"errors"
	"maps"
)

// drop is a kind of packets that are dropped where they arrive.
type drop struct {
	atHost bool   // they come from the tests' end; otherwise from the host
	which  string // a selector of ip-rule(8) besides the device
}

var (
	everything   = map[drop]bool{{atHost: true}: true, {atHost: false}: true}
	toDatabase   = drop{which: " to " + Database}
	fromDatabase = drop{atHost: true, which: " from " + Database}
)

// Vanish cuts the host off: whatever it sends and whatever is sent to it is gone, without a sign to either side.
func (h *Host) Vanish() error { return h.disturb(everything) }

// Return ends what Vanish began, and every other disturbance.
func (h *Host) Return() error { return h.Heal() }

// DropToDatabase drops what the host sends to the database. What the database sends still arrives, and the fediverse is
// reached both ways.
func (h *Host) DropToDatabase() error { return h.disturb(map[drop]bool{toDatabase: true}) }

// DropFromDatabase drops what the database sends to the host, and nothing else.
func (h *Host) DropFromDatabase() error { return h.disturb(map[drop]bool{fromDatabase: true}) }

// CutDatabase drops both.
func (h *Host) CutDatabase() error {
	return h.disturb(map[drop]bool{toDatabase: true, fromDatabase: true})
}

// Heal ends every disturbance. What waits for its retransmission arrives then.
func (h *Host) Heal() error { return h.disturb(nil) }

func (h *Host) disturb(drops map[drop]bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set(drops)
}

// set makes the drops those that there are. Callers hold mu.
func (h *Host) set(drops map[drop]bool) error {
	var failed []error
	for d := range drops {
		if !h.drops[d] {
			failed = append(failed, h.rule("add", d))
		}
	}
	for d := range h.drops {
		if !drops[d] {
			failed = append(failed, h.rule("del", d))
		}
	}
	h.drops = maps.Clone(drops)
	return errors.Join(failed...)
}

// rule adds or deletes a blackhole among the routing rules. On the way in it drops without a word; on the way out it
// would be an error of the socket.
func (h *Host) rule(verb string, d drop) error {
	if d.atHost {
		return h.doLocked(func() error {
			return ip("rule " + verb + " pref " + dropRule + " iif eth0" + d.which + " blackhole")
		})
	}
	return ip("rule " + verb + " pref " + dropRule + " iif " + h.cable + d.which + " blackhole")
}
