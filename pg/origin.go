package pg

import (
	"context"
	"fmt"
	"time"
)

// Source is the row of fedsender.source: where activities come from, and in what that differs from other sources.
type Source struct {
	Name                 string
	ActivityTable        string
	SequenceCache        int64 // of the ids; anything but 1 breaks the horizon
	PreparesTransactions bool  // max_prepared_transactions > 0: then triggers can't notify (migrations/common/bells.sql)

	// Variant is the form of the application's tables that the schema was made for, VariantNow the one that they have.
	Variant, VariantNow string
	// Rings: triggers tell of activities and of what else changes in the application's tables. Without them processes
	// look for themselves.
	Rings bool
	// SilentTables are the tables of the application whose triggers are missing.
	SilentTables []string
	// StopsOnMovedCursor: an instance whose cursor another program moved is paused and left alone.
	StopsOnMovedCursor bool
	// DeadAfterFailures is how many failures in a row make an instance dead that gave no sign of life for 3 days.
	DeadAfterFailures int
	// ExplicitPorts: the URL of an inbox may name a port.
	ExplicitPorts bool
	// FollowsRedirects: a delivery that is answered 307 or 308 goes on to where that points.
	FollowsRedirects bool
	// UnauthorizedTries is how often a delivery is tried again that was answered 401.
	UnauthorizedTries int
	// RequestTimeout is how long a delivery may take where nobody said otherwise; 0: as the program has it.
	RequestTimeout time.Duration
}

// checkEncoding: text of remote servers and comments of the schema have any letter in them.
func checkEncoding(encoding string) error {
	if encoding == "UTF8" {
		return nil
	}
	return fmt.Errorf("the database is encoded in %s and can't hold what remote servers say; move it to one that is made with encoding 'UTF8'", encoding)
}

// ReadSource reads fedsender.source and what the server allows. A source that would lose activities is an error.
func ReadSource(ctx context.Context, q Querier) (s Source, err error) {
	var encoding string
	var table *string
	var cache *int64
	var timeout *float64
	err = q.QueryRow(ctx, `
		select name, activity_table::text, sequence_cache, current_setting('max_prepared_transactions')::int > 0,
		  current_setting('server_encoding'), rings, stops_on_moved_cursor, dead_after_failures, explicit_ports,
		  unauthorized_tries, extract(epoch from request_timeout)::float8, silent_tables, variant, variant_now, follows_redirects
		from fedsender.source`).Scan(&s.Name, &table, &cache, &s.PreparesTransactions,
		&encoding, &s.Rings, &s.StopsOnMovedCursor, &s.DeadAfterFailures, &s.ExplicitPorts,
		&s.UnauthorizedTries, &timeout, &s.SilentTables, &s.Variant, &s.VariantNow, &s.FollowsRedirects)
	if err != nil {
		return s, fmt.Errorf("read the source: %w", err)
	}
	if table == nil {
		return s, fmt.Errorf("read the source: %w", ErrTablesChanged)
	}
	s.ActivityTable = *table
	if timeout != nil {
		s.RequestTimeout = time.Duration(*timeout * float64(time.Second))
	}
	if err := checkEncoding(encoding); err != nil {
		return s, err
	}
	if cache == nil {
		return s, fmt.Errorf("the ids of %s are drawn from no sequence that is known, so activities could be lost: make its id an identity or serial column", s.ActivityTable)
	}
	if s.SequenceCache = *cache; s.SequenceCache != 1 {
		return s, fmt.Errorf("the id sequence of %s has CACHE %d; ids must be drawn one by one or activities are lost: alter its sequence to CACHE 1",
			s.ActivityTable, s.SequenceCache)
	}
	return s, nil
}
