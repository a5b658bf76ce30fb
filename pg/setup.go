package pg

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// setSearchPath has a session mean the server's own functions and tables by a name without a schema, whatever the role or the
// database was set to. All else is called by its schema.
const setSearchPath = `pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)`

// setNoJIT spares each session the compilation of plans whose cost is guessed too high, which takes some hundred milliseconds where
// the statement takes a few (note_demand, Postgres manual, "When to JIT?").
const setNoJIT = `pg_catalog.set_config('jit', 'off', false)`

// localSearchPath does the same for a transaction.
const localSearchPath = "set local search_path = pg_catalog, pg_temp;\n\n"

// setUp returns cfg for connections that the server drops 10 s after their host vanished, as it drops the lease session,
// and that begin with further settings: calls of set_config. With the system's own keepalive, two hours as a rule, they
// would count against every limit until then. Behind a pooler nothing is set: that session is not ours, and the pooler
// notices or does not. A server that refuses keeps its own settings.
//
// tcp_user_timeout is left alone: who reads slowly, such as a process that loads all followers, would be taken for gone.
func setUp(cfg *pgx.ConnConfig, further ...string) *pgx.ConnConfig {
	settings := []string{setSearchPath, setNoJIT}
	for _, s := range leaseSettings {
		if strings.HasPrefix(s.name, "tcp_keepalives_") {
			settings = append(settings, s.call())
		}
	}
	settings = append(settings, further...)
	cfg = cfg.Copy()
	given := cfg.AfterConnect
	cfg.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		// In the target list it is called for the row that is ours, or for none.
		bounded, cancel := context.WithTimeout(ctx, personLimit)
		defer cancel()
		answer := conn.ExecParams(bounded, fmt.Sprintf(`select %s from pg_catalog.pg_backend_pid() as b (pid) where pid = %d`, strings.Join(settings, ", "), conn.PID()), nil, nil, nil, nil).Read()
		if answer.Err != nil && conn.IsClosed() {
			return unanswered(answer.Err)
		}
		if given != nil {
			return given(ctx, conn)
		}
		return nil
	}
	return cfg
}
