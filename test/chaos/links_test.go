package chaos

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/fedsender/fedsender/test/pgbouncer"
	"github.com/fedsender/fedsender/test/postgres"
)

// links are other ways to the database: the first sender takes the slow one, the second that through PgBouncer.
type links struct {
	slow   *toxiproxy.Proxy
	pooler *pgbouncer.Pooler
	urls   []string
}

// next returns the URL for one more sender.
func (l *links) next(direct string) string {
	if len(l.urls) == 0 {
		return direct
	}
	first := l.urls[0]
	l.urls = l.urls[1:]
	return first
}

func proxiedServer(ctx context.Context, t *testing.T, s *storm) string {
	t.Helper()
	database := s.serve(ctx, t, postgres.Options{})
	pooler, err := pgbouncer.Start(ctx, s.server, pgbouncer.Options{Mode: pgbouncer.Session})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Close(); err != nil {
			t.Error(err)
		}
	})
	upstream := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.server.Port()))
	slow := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "slow", "127.0.0.1:0", upstream)
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(slow.Stop)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = slow.Listen
	s.links = &links{slow: slow, pooler: pooler, urls: []string{u.String(), pooler.URL("chaos")}}
	return database
}

// latency delays what one process and the database say to each other, from what a far away database costs to more than
// leases last.
func latency(ctx context.Context, s *storm) time.Duration {
	victim := s.Senders()[0]
	i := s.suffer(victim.Name)
	delay := []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 800 * time.Millisecond, 4 * time.Second}[s.random.IntN(4)]
	directions := []string{"upstream", "downstream"}
	for _, direction := range directions {
		toxic := fmt.Sprintf(`{"name":%q,"type":"latency","stream":%q,"attributes":{"latency":%d,"jitter":%d}}`,
			direction, direction, delay.Milliseconds(), delay.Milliseconds()/2)
		if _, err := s.links.slow.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			s.t.Fatal(err)
		}
	}
	wait(ctx, s.between(2*time.Second, 10*time.Second))
	for _, direction := range directions {
		s.do(func() error { return s.links.slow.Toxics.RemoveToxic(ctx, direction) })
	}
	i.struck()
	return s.working(ctx, victim, i.end)
}

// restartPooler ends the sessions of the one process that reaches the database through it.
func restartPooler(ctx context.Context, s *storm) time.Duration {
	victim := s.Senders()[1]
	i := s.suffer(victim.Name)
	s.do(s.links.pooler.Stop)
	i.struck()
	wait(ctx, s.upTo(3*time.Second))
	s.do(func() error { return s.links.pooler.Restart(ctx) })
	i.over()
	return s.working(ctx, victim, i.end)
}
