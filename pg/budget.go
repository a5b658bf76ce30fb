package pg

import (
	"context"
	"fmt"
)

// LockBudget returns how many leases all processes together may hold: half of the lock table that Postgres promises
// (max_locks_per_transaction * (max_connections + max_prepared_transactions)), because it is shared with every
// transaction of the application, and those fail when it is full.
func LockBudget(ctx context.Context, q Querier) (int, error) {
	var budget int64
	err := q.QueryRow(ctx, `
		select current_setting('max_locks_per_transaction')::bigint
			* (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
			/ 2`).Scan(&budget)
	if err != nil {
		return 0, fmt.Errorf("read how many locks the server has room for: %w", err)
	}
	return int(budget), nil
}
