package pg

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func TestSentence_NamesAStatementTimeoutThatIsTooShort(t *testing.T) {
	ended := &pgconn.PgError{Code: queryCanceled, Message: "canceling statement due to statement timeout"}
	require.Contains(t, Sentence(ended), "set statement_timeout = 0")
	_, remedy, _ := explainServer(ended, &pgx.ConnConfig{Config: pgconn.Config{User: "app"}})
	require.Contains(t, remedy, `alter role "app" set statement_timeout = 0`)
	ended.Message = "canceling statement due to user request"
	require.NotContains(t, Sentence(ended), "statement_timeout")
}
