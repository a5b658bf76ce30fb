package bench

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// kinds tell statements apart, the first that fits. Those of the benchmark itself have a mark.
var kinds = []struct{ name, like string }{
	{"", "%measuring%"},
	{"heartbeat", "%application_name like%"},
	{"lock", "%pg_try_advisory_lock%"},
	{"unlock", "%pg_advisory_unlock%"},
	{"bell", "select pg_notify(%"},
	{"pg_locks", "%pg_locks%"},
	{"transaction", "%commit%"},
	{"transaction", "%begin%"},
}

// statements counts what the server was asked, exactly, with pg_stat_statements.
type statements struct {
	calls map[string]int64
	busy  map[string]float64 // milliseconds of the server
}

func (s statements) String() string {
	var text []string
	total := int64(0)
	for _, kind := range []string{"heartbeat", "lock", "unlock", "bell", "pg_locks", "transaction", "other"} {
		total += s.calls[kind]
		if s.calls[kind] > 0 {
			text = append(text, fmt.Sprintf("%s %d (%.0f ms)", kind, s.calls[kind], s.busy[kind]))
		}
	}
	return fmt.Sprintf("%d statements: %s", total, strings.Join(text, ", "))
}

// per is the rate of a second.
func (s statements) per(seconds float64) string {
	var text []string
	total := 0.0
	for _, kind := range []string{"heartbeat", "lock", "unlock", "bell", "pg_locks", "transaction", "other"} {
		rate := float64(s.calls[kind]) / seconds
		total += rate
		text = append(text, fmt.Sprintf("%s %.2f", kind, rate))
	}
	return fmt.Sprintf("%.1f statements a second: %s", total, strings.Join(text, ", "))
}

// countStatements starts the count anew and returns what was counted before.
func (b *bench) countStatements() statements {
	b.tb.Helper()
	rows, err := b.DB.Query(b.ctx, `
		select query, calls, total_exec_time
		from pg_stat_statements /* measuring */
		where dbid = (select oid from pg_database where datname = current_database())`)
	if err != nil {
		b.tb.Fatal(err)
	}
	s := statements{calls: map[string]int64{}, busy: map[string]float64{}}
	var query string
	var calls int64
	var took float64
	_, err = pgx.ForEachRow(rows, []any{&query, &calls, &took}, func() error {
		kind := kindOf(query)
		s.calls[kind] += calls
		s.busy[kind] += took
		return nil
	})
	if err == nil {
		_, err = b.DB.Exec(b.ctx, `select pg_stat_statements_reset() /* measuring */`)
	}
	if err != nil {
		b.tb.Fatal(err)
	}
	return s
}

func kindOf(query string) string {
	for _, k := range kinds {
		if like(strings.ToLower(query), k.like) {
			return k.name
		}
	}
	return "other"
}

// like is that of SQL, for patterns with % alone.
func like(text, pattern string) bool {
	parts := strings.Split(pattern, "%")
	for _, part := range parts {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
