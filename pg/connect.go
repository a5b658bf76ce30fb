package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// defaultConnectTimeout is for one host. A database on the same network answers in milliseconds; one that does not
	// in this time is better tried again.
	defaultConnectTimeout = 5 * time.Second
	// defaultApplicationName is what pg_stat_activity shows where the connection string names nothing.
	defaultApplicationName = "fedsender"
	// PoolConns is enough: reading activities, reading what changed, and a person's question at the same time.
	PoolConns = 4
	// poolIdle ends connections that a catch-up needed and the usual trickle does not.
	poolIdle = 5 * time.Minute
	// poolLifetime lets a connection find a new primary, certificate or search path without a restart.
	poolLifetime = time.Hour
)

// ParseConfig reads a connection string: a URL, key=value pairs, or nothing, where the PG* variables (and a
// connection service file or .pgpass) say all; they also fill in what the string leaves open. Its error is one sentence
// without any part of the string, because a password may be anywhere in a string that can't be parsed.
//
// With several hosts and no target_session_attrs the one that takes writes is used.
func ParseConfig(dsn string) (*pgx.ConnConfig, error) {
	if passwordBreaksURL(dsn) {
		return nil, errPassword
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, describeParseError(err)
	}
	for _, host := range hosts(cfg) {
		// No name has one, and this one would be shown. A directory may.
		if strings.Contains(host, "@") && !strings.HasPrefix(host, "/") {
			return nil, errPassword
		}
	}
	// Named prepared statements belong to one server connection and break behind a pooler that changes it between
	// transactions. This mode parses each statement anew, without a name; parameters take the types that the
	// statement gives them, so each of ours must be clear without help ($1::jsonb).
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = defaultConnectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = defaultApplicationName
	}
	// Without a prepared statement values come as text, whose form a role or database may have set otherwise; and
	// documents are sent as UTF-8, whatever the database's encoding. Poolers know both.
	cfg.RuntimeParams["datestyle"] = "ISO"
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	for parameter := range cfg.RuntimeParams {
		// For pgxpool, whose size is ours; the server would refuse them.
		if strings.HasPrefix(parameter, "pool_") {
			delete(cfg.RuntimeParams, parameter)
		}
	}
	if cfg.ValidateConnect == nil && len(hosts(cfg)) > 1 {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return cfg, nil
}

// errPassword is told of what a raw character of the password makes of a URL.
var errPassword = errors.New("has an @ in the host or behind it: in a URL, percent-encode the password (@ is %40, / is %2F, % is %25, # is %23, ? is %3F)")

// IsConfigured tells whether the PG* variables name any database, so that an empty connection string means something.
func IsConfigured() bool {
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGPASSWORD"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// passwordBreaksURL finds URLs whose password holds a character that ends the host part of a URL. They parse, as a
// connection to a wrong host with a part of the password in the database's name.
func passwordBreaksURL(dsn string) bool {
	scheme, rest, isURL := strings.Cut(dsn, "://")
	if !isURL || scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	end := strings.IndexAny(rest+"/", "/?#")
	authority, rest := rest[:end], rest[end:]
	if strings.Count(authority, "@") > 1 {
		return true
	}
	path, query, _ := strings.Cut(rest, "?")
	if strings.Contains(path, "@") {
		return true
	}
	if _, fragment, found := strings.Cut(query, "#"); found && strings.Contains(fragment, "@") {
		return true
	}
	// "user:1?2@host": parameters hold an = before any @.
	before, _, found := strings.Cut(query, "@")
	return found && !strings.Contains(before, "=")
}

// parseProblems are what a connection string can have wrong, by how pgx begins to say it.
var parseProblems = []struct{ begins, means string }{
	{"failed to parse as URL", "is no valid postgres:// URL; percent-encode special characters in the password (@ is %40, / is %2F, % is %25)"},
	{"failed to parse as keyword/value", "is neither a postgres:// URL nor key=value pairs such as host=db dbname=app user=app"},
	{"failed to read service", "names a connection service that can't be read; see PGSERVICE and PGSERVICEFILE"},
	{"invalid port", "has a port that is no number; in a URL, percent-encode a : or / in the password"},
	{"could not match", "has another number of ports than of hosts"},
	{"invalid connect_timeout", "has a connect_timeout that is no number of seconds"},
	{"failed to configure TLS", "asks for TLS in a way that can't be; see sslmode, sslrootcert, sslcert and sslkey"},
	{"unknown target_session_attrs", "has an unknown target_session_attrs; use read-write"},
	{"invalid sslcertmode", "has an unknown sslcertmode"},
	{"unknown channel_binding", "has an unknown channel_binding"},
	{"invalid require_auth", "has an unknown require_auth"},
}

func describeParseError(err error) error {
	text := err.Error()
	for _, problem := range parseProblems {
		if !strings.Contains(text, "`: "+problem.begins) {
			continue
		}
		// The files of sslrootcert and the like; their names are no secret.
		if unread := (*os.PathError)(nil); errors.As(err, &unread) {
			return fmt.Errorf("%s: %w", problem.means, unread)
		}
		return errors.New(problem.means)
	}
	return errors.New("is not understood; use postgres://user:password@host:port/database or key=value pairs")
}

// Open makes a small pool for a person's commands, and one connection in it. Its error is that of [Explain]. Close the pool when done.
func Open(ctx context.Context, cfg *pgx.ConnConfig) (*pgxpool.Pool, error) {
	pool, err := newPool(ctx, setUp(cfg, setPersonLockTimeout), PoolConns, nil)
	if err != nil {
		return nil, Explain(err, cfg)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, Explain(err, cfg)
	}
	return pool, nil
}

// NewPool makes the pool of a process, of at most so many connections, without one yet. Close it when done. A statement that
// waits for a lock for longer than [lockPatience] fails: see [IsLocked]. Each connection is made with what login returns at that
// moment, see [TakeLogin]; nil: with cfg's own.
func NewPool(ctx context.Context, cfg *pgx.ConnConfig, conns int, login func() *pgx.ConnConfig) (*pgxpool.Pool, error) {
	pool, err := newPool(ctx, setUp(cfg, setLockTimeout), conns, login)
	if err != nil {
		return nil, Explain(err, cfg)
	}
	return pool, nil
}

func newPool(ctx context.Context, cfg *pgx.ConnConfig, conns int, login func() *pgx.ConnConfig) (*pgxpool.Pool, error) {
	// Only ParseConfig makes a pool's configuration; the string keeps it from reading the environment once more.
	config, err := pgxpool.ParseConfig("host=/ port=5432 user=x dbname=x sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("configure the pool: %w", err)
	}
	config.ConnConfig = cfg
	if login != nil {
		config.BeforeConnect = func(_ context.Context, cfg *pgx.ConnConfig) error {
			TakeLogin(cfg, login())
			return nil
		}
	}
	config.MaxConns = int32(conns)
	config.MinConns = 0
	config.MaxConnIdleTime = poolIdle
	config.MaxConnLifetime = poolLifetime
	config.MaxConnLifetimeJitter = poolLifetime / 10
	return pgxpool.NewWithConfig(ctx, config)
}
