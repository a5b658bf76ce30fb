package pg_test

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/pg"
)

// silent listens, takes every connection and says nothing until the test ends.
func silent(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		accepting.Wait()
	})
	return listener.Addr().String()
}

func TestOpen_NamesAHostThatTakesConnectionsAndSaysNothing(t *testing.T) {
	address := silent(t)
	for name, parameters := range map[string]string{"with TLS or without": "", "without TLS": "&sslmode=disable", "with TLS": "&sslmode=require"} {
		t.Run(name, func(t *testing.T) {
			cfg := parse(t, "postgres://u:s3cret@"+address+"/x?connect_timeout=1"+parameters)
			_, err := pg.Open(t.Context(), cfg)
			requireSentence(t, err, true, address+" accepts connections and does not answer", "stuck")
			require.False(t, pg.IsNotReady(err), "it may be no database at all, and is not waited for for ever")
		})
	}
	cfg := parse(t, "postgres://u@"+address+"/x?connect_timeout=1")
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
	}
	_, err := pg.Open(t.Context(), cfg)
	requireSentence(t, err, true, "no answer in time", "firewalls")
}

func TestOpen_DoesNotBlameTLSForAServerThatWentAway(t *testing.T) {
	cfg := parse(t, "postgres://u@127.0.0.1:1/x?connect_timeout=1")
	dialled := 0
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		if dialled++; dialled > 1 {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		here, there := net.Pipe()
		return here, there.Close()
	}
	_, err := pg.Open(t.Context(), cfg)
	requireSentence(t, err, true, "connection refused")
}

func TestOpen_SaysThatTheLockTableIsFull(t *testing.T) {
	cfg := parse(t, "postgres://u@127.0.0.1:1/x?connect_timeout=1&sslmode=disable")
	var serving sync.WaitGroup
	defer serving.Wait()
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		serving.Go(func() {
			defer there.Close()
			server := pgproto3.NewBackend(there, there)
			if _, err := server.ReceiveStartupMessage(); err == nil {
				server.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "53200", Message: "out of shared memory"})
				_ = server.Flush()
			}
		})
		return here, nil
	}
	_, err := pg.Open(t.Context(), cfg)
	requireSentence(t, err, true, "out of shared memory", "raise max_locks_per_transaction")
	require.True(t, pg.IsNotReady(err))
}

func TestBoundForPerson_LeavesTenSecondsForAllHosts(t *testing.T) {
	for dsn, most := range map[string]time.Duration{
		"host=a":                       5 * time.Second,
		"host=a connect_timeout=60":    10 * time.Second,
		"host=a connect_timeout=2":     2 * time.Second,
		"host=a,b connect_timeout=60":  5 * time.Second,
		"host=a,b,c,d sslmode=disable": 2500 * time.Millisecond,
	} {
		cfg := parse(t, dsn)
		pg.BoundForPerson(cfg)
		require.Equal(t, most, cfg.ConnectTimeout, dsn)
	}
}
