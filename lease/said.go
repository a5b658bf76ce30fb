package lease

import (
	"maps"
	"sync"
	"time"
)

// sayAgainAfter joins what is said in each round while the same trouble lasts, such as a save that keeps the session busy.
const sayAgainAfter = 10 * time.Second

// said is what was said when. The zero value is ready; it is safe for several goroutines.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

// again tells that what was said within the last ten seconds; where not, it counts as said at this moment.
func (s *said) again(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, found := s.at[what]; found && now.Sub(at) < sayAgainAfter {
		return true
	}
	maps.DeleteFunc(s.at, func(_ string, at time.Time) bool { return now.Sub(at) >= sayAgainAfter })
	if s.at == nil {
		s.at = map[string]time.Time{}
	}
	s.at[what] = now
	return false
}
