package pg

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/postgres"
)

// boundPool is a pool whose statements may take 100 ms.
func boundPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	cfg, err := ParseConfig(postgres.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tracer = bound(100 * time.Millisecond)
	pool, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestBound_StatementThatTakesTooLongEnds(t *testing.T) {
	pool := boundPool(t)
	for name, statement := range map[string]func() error{
		"exec": func() error {
			_, err := pool.Exec(t.Context(), `select pg_sleep(20)`)
			return err
		},
		"row": func() error {
			var nothing string
			return pool.QueryRow(t.Context(), `select pg_sleep(20)::text`).Scan(&nothing)
		},
		"rows": func() error {
			rows, err := pool.Query(t.Context(), `select pg_sleep(10) from generate_series(1, 2)`)
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			return err
		},
		"batch": func() error {
			batch := &pgx.Batch{}
			batch.Queue(`select pg_sleep(20)`)
			return pool.SendBatch(t.Context(), batch).Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if err := statement(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			if _, err := pool.Exec(t.Context(), `select 1`); err != nil {
				t.Errorf("afterwards the pool is of no use: %v", err)
			}
		})
	}
}

func TestBound_WhatReadsEverythingHasTime(t *testing.T) {
	if _, err := boundPool(t).Exec(long(t.Context()), `select pg_sleep(0.3)`); err != nil {
		t.Error(err)
	}
}
