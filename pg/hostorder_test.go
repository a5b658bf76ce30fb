package pg_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/postgres"
)

// order is how hosts are tried.
func order(cfg *pgx.ConnConfig) string {
	tried := []string{fmt.Sprint(cfg.Port, cfg.TLSConfig != nil)}
	for _, f := range cfg.Fallbacks {
		tried = append(tried, fmt.Sprint(f.Port, f.TLSConfig != nil))
	}
	return strings.Join(tried, ", ")
}

func TestHostOrder_TriesFirstWhoTookAConnectionAndLastWhoFellSilent(t *testing.T) {
	there := postgres.Database(t)
	port := parse(t, there).Port
	all := func() *pgx.ConnConfig {
		cfg := parse(t, there)
		cfg.Fallbacks = []*pgconn.FallbackConfig{{Host: cfg.Host, Port: port}, {Host: "127.0.0.3", Port: 3}}
		cfg.Host, cfg.Port = "127.0.0.2", 1
		return cfg
	}
	var hosts pg.HostOrder
	cfg := all()
	hosts.Watch(cfg)
	hosts.Sort(cfg)
	require.Equal(t, fmt.Sprintf("1 false, %d false, 3 false", port), order(cfg), "nothing is known yet")
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	cfg = all()
	hosts.Sort(cfg)
	require.Equal(t, fmt.Sprintf("%d false, 1 false, 3 false", port), order(cfg))
	hosts.Watch(cfg)
	s, err := pg.OpenLeaseSession(t.Context(), cfg, "a", 0, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s.Close()
	hosts.Lost(s)
	cfg = all()
	hosts.Sort(cfg)
	require.Equal(t, fmt.Sprintf("1 false, 3 false, %d false", port), order(cfg))
}

func TestHostOrder_KeepsTheWaysToAHost(t *testing.T) {
	var hosts pg.HostOrder
	cfg := parse(t, "postgres://u@one:1,two:2/x")
	before := order(cfg)
	require.Equal(t, "1 true, 1 false, 2 true, 2 false", before, "with TLS, and without")
	hosts.Sort(cfg)
	require.Equal(t, before, order(cfg))
}
