package pg

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/test/postgres"
)

// Tables of the native application, which other sources have elsewhere.
var nativeOnly = []string{"actor", "instance", "follower", "activity", "domain_allow", "domain_block", "queue_state"}

func TestContract_IsWhatTheNativeSourceMakes(t *testing.T) {
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, postgres.Database(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = Migrate(ctx, conn, MigrateOptions{Source: "native"})
	require.NoError(t, err)
	rows, err := conn.Query(ctx, shape)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	lines = slices.DeleteFunc(lines, func(line string) bool {
		relation, _, _ := strings.Cut(line, ".")
		return slices.Contains(nativeOnly, relation)
	})
	slices.Sort(lines)
	text := strings.Join(lines, "\n") + "\n"
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile("contract.txt", []byte(text), 0o644))
		contract = text
	}
	assert.Equal(t, text, contract, "run: go test ./pg -run TestContract -update")
}
