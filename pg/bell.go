package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgxlisten"
)

// Arm asks writers to ring for the next activity.
func Arm(ctx context.Context, q Querier) error {
	if _, err := q.Exec(ctx, `update fedsender.doorbell set armed = true where not armed`); err != nil {
		return fmt.Errorf("arm the doorbell: %w", err)
	}
	return nil
}

// Disarm spares busy writers the bell, also those above READ COMMITTED, which notify wherever they read the row. Who sleeps
// is woken once, so that he arms it again before he sleeps again. The second time, with nothing left to change, spares them
// even the look at the row (trigger doorbell_written); it must not be in the transaction of the first.
func Disarm(ctx context.Context, q Querier) error {
	for range 2 {
		disarmed, err := q.Exec(ctx, `
			with disarmed as (update fedsender.doorbell set armed = false where armed returning 1)
			select pg_notify('fedsender_doorbell', '') from disarmed`)
		if err != nil {
			return fmt.Errorf("disarm the doorbell: %w", err)
		}
		if disarmed.RowsAffected() == 0 {
			break
		}
	}
	return nil
}

// Bells are called for notifications, from one goroutine; they must not block.
type Bells struct {
	Activity, Change, Doorbell func()
	// Lease is told what [LeaseSession.Ring] was; empty after it had to connect again.
	Lease func(payload string)
}

// Listen hears the bells until ctx ends. After it had to connect again it rings them all, because some may have been
// missed. What config returns, before each attempt to connect, must lead to the server itself, not through a transaction pooler.
func Listen(ctx context.Context, config func() *pgx.ConnConfig, bells Bells, log *slog.Logger) error {
	var complained time.Time // LogError is called from the one goroutine of Listen
	listener := &pgxlisten.Listener{
		Connect: func(ctx context.Context) (*pgx.Conn, error) {
			conn, err := pgx.ConnectConfig(ctx, setUp(config()))
			if err != nil {
				return nil, err
			}
			// It is idle by nature. A server older than 14 does not know the setting, nor the time-out.
			_, _ = conn.Exec(ctx, `set idle_session_timeout = 0`)
			return conn, nil
		},
		ReconnectDelay: time.Second,
		LogError: func(ctx context.Context, err error) {
			if ctx.Err() == nil && time.Since(complained) > 10*time.Second {
				complained = time.Now()
				log.Warn("not listening for news; looking for them instead until the connection is back", "error", Explain(err, config()))
			}
		},
	}
	for channel, ring := range map[string]bell{
		"fedsender_activity": plain(bells.Activity),
		"fedsender_change":   plain(bells.Change),
		"fedsender_lease":    bells.Lease,
		"fedsender_doorbell": plain(bells.Doorbell),
	} {
		listener.Handle(channel, ring)
	}
	if err := listener.Listen(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// bell rings for each notification, and once after connecting.
type bell func(payload string)

func plain(ring func()) bell { return func(string) { ring() } }

func (b bell) HandleNotification(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	b(n.Payload)
	return nil
}

func (b bell) HandleBacklog(context.Context, string, *pgx.Conn) error {
	b("")
	return nil
}
