package pg

import (
	"context"
	"strconv"
	"strings"
)

const (
	// LeasePrefix begins the application_name of every lease session. Behind it, between colons: the id of the process,
	// how many leases it may hold (0: no limit), the version of the weights that it plans with, and leavingWord when it
	// shuts down. What stands there dies with the session, and a heartbeat reads it without waiting for any lock.
	LeasePrefix = "fedsender:"
	leavingWord = "leaving"
	// maxLeaseID leaves room for the rest in the 63 bytes that Postgres has.
	maxLeaseID = 63 - len(LeasePrefix) - len(":999999:9999999:") - len(leavingWord)
)

// leaseName is what a lease session says of its process.
type leaseName struct {
	id        string
	maxLeases int
	weights   int64
	leaving   bool
}

func (n leaseName) String() string {
	most := min(n.maxLeases, 999_999) // as good as no limit
	text := LeasePrefix + n.id + ":" + strconv.Itoa(most) + ":" + strconv.FormatInt(n.weights, 10)
	if n.leaving {
		text += ":" + leavingWord
	}
	return text
}

// parseLeaseName takes what is missing or no number as zero.
func parseLeaseName(text string) (n leaseName) {
	text, n.leaving = strings.CutSuffix(text, ":"+leavingWord)
	id, rest, _ := strings.Cut(strings.TrimPrefix(text, LeasePrefix), ":")
	most, weights, _ := strings.Cut(rest, ":")
	n.id = id
	n.maxLeases, _ = strconv.Atoi(most)
	n.weights, _ = strconv.ParseInt(weights, 10, 64)
	return n
}

func isLeaseID(id string) bool {
	if id == "" || len(id) > maxLeaseID {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return true
}

// Leave shows all others that this process takes nothing any more.
func (s *LeaseSession) Leave(ctx context.Context) error {
	return s.say(ctx, "leave", func(n *leaseName) { n.leaving = true })
}

// Show tells all others which version of the weights this process plans with.
func (s *LeaseSession) Show(ctx context.Context, version int64) error {
	return s.say(ctx, "show the version of the weights", func(n *leaseName) { n.weights = version })
}

func (s *LeaseSession) say(ctx context.Context, what string, change func(*leaseName)) error {
	return s.call(ctx, what, func(ctx context.Context) error {
		name := s.name
		change(&name)
		_, err := s.conn.Exec(ctx, `select set_config('application_name', $1, false)`, name.String())
		if err == nil {
			s.name = name
		}
		return err
	})
}
