package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// loginTimeout is for trying a login, whatever the connection string says.
const loginTimeout = 10 * time.Second

// ErrLoginRefused is a user, password or certificate that the server does not take.
var ErrLoginRefused = errors.New("the server refuses it")

// ErrOtherDatabase is a connection string that leads to other hosts, or to another database, than the one in force.
var ErrOtherDatabase = errors.New("it leads to another database; a process moves there only by a restart")

// TakeLogin gives cfg the user, the password and the certificates of login.
func TakeLogin(cfg, login *pgx.ConnConfig) {
	login = login.Copy()
	cfg.User, cfg.Password = login.User, login.Password
	cfg.TLSConfig, cfg.SSLCertMode, cfg.SSLNegotiation = login.TLSConfig, login.SSLCertMode, login.SSLNegotiation
	cfg.Host, cfg.Port, cfg.Fallbacks = login.Host, login.Port, login.Fallbacks
}

// TryLogin connects as cfg does, with the login of another connection string for the same database. It waits for 10 s at most.
// Its error is ErrOtherDatabase, one that wraps ErrLoginRefused, or that of a server which can't say: it is away, for one. A
// server that has no connection left has taken the login.
func TryLogin(ctx context.Context, cfg, login *pgx.ConnConfig) error {
	if cfg.Database != login.Database || !slices.Equal(hosts(cfg), hosts(login)) {
		return ErrOtherDatabase
	}
	cfg = cfg.Copy()
	TakeLogin(cfg, login)
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return loginError(err, cfg)
	}
	_ = conn.Close(ctx)
	return nil
}

func loginError(err error, cfg *pgx.ConnConfig) error {
	const authorization, tooManyConnections = "28", "53300"
	for _, attempt := range telling(err) {
		var answer *pgconn.PgError
		switch {
		case !errors.As(attempt, &answer):
		case strings.HasPrefix(answer.Code, authorization):
			return fmt.Errorf("%w: %w", ErrLoginRefused, Explain(err, cfg))
		case answer.Code == tooManyConnections:
			return nil
		}
	}
	return Explain(err, cfg)
}
