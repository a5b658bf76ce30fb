package lemmy

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Line is a line of Lemmy's releases whose tables are alike; its text is what fedsender.source calls its variant.
type Line string

// Both lines that Lemmy has.
const (
	V019 Line = "0.19"
	V10  Line = "1.0"
)

// Lines are all of them.
var Lines = []Line{V019, V10}

//go:embed 019.sql
var tables019 string

//go:embed 10.sql
var tables10 string

//go:embed upgrade.sql
var upgrade string

// Create makes the tables of a line, empty, in schema public.
func Create(ctx context.Context, conn *pgx.Conn, line Line) error {
	text := tables019
	if line == V10 {
		text = tables10
	}
	if err := inOne(ctx, conn, text); err != nil {
		return fmt.Errorf("make the tables of Lemmy %s: %w", line, err)
	}
	return nil
}

// Upgrade makes 1.0's tables out of 0.19's in one transaction, as Lemmy does when it starts: under its advisory lock.
func Upgrade(ctx context.Context, conn *pgx.Conn) error {
	if err := inOne(ctx, conn, "select pg_advisory_xact_lock(0);\n"+upgrade); err != nil {
		return fmt.Errorf("upgrade Lemmy's tables from 0.19 to 1.0: %w", err)
	}
	return nil
}

// UpgradeSlowly is Upgrade with a pause after each statement, as where tables are large.
func UpgradeSlowly(ctx context.Context, conn *pgx.Conn, pause time.Duration) error {
	slow := strings.ReplaceAll(upgrade, ";\n", fmt.Sprintf(";\nselect pg_sleep(%f);\n", pause.Seconds()))
	if err := inOne(ctx, conn, slow); err != nil {
		return fmt.Errorf("upgrade Lemmy's tables from 0.19 to 1.0: %w", err)
	}
	return nil
}

// inOne runs many statements in one transaction.
func inOne(ctx context.Context, conn *pgx.Conn, text string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, text)
		return err
	})
}
