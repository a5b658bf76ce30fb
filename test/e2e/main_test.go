// Package e2e tests the sender's binary from the INSERT to the ledger of the receivers.
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }

// patience is how long a test waits for what should take a second; only a broken one waits so long.
const patience = 60 * time.Second

func newCluster(t *testing.T, config fediverse.Config) *fleet.Cluster {
	t.Helper()
	binary, err := fleet.Binary(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := fleet.NewCluster(t.Context(), binary, postgres.Database(t), config)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		c.Log = os.Stderr
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// insert adds activities of the actor to its followers and returns their ids.
func insert(t *testing.T, db *pgxpool.Pool, actor int64, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, err := db.Exec(t.Context(), `
			insert into fedsender.activity (ap_id, data, actor_id, send_followers_of)
			values ($1, json_build_object('id', $1::text, 'type', 'Create', 'object', $1::text || '/object'), $2, array[$2::bigint])`, id, actor)
		if err != nil {
			t.Fatal(err)
		}
	}
}
