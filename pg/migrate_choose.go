package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fedsender/fedsender/migrations"
)

// choose finds the source, and refuses a schema that this program does not know.
func (m *migration) choose(ctx context.Context) (err error) {
	if err := m.name(ctx); err != nil {
		return err
	}
	if m.schema.source != "" && m.schema.source != m.source {
		return schemaErrorf(ErrOtherSource, "schema fedsender is for source %s, not %s; remove it first: %s --down",
			m.schema.source, m.source, migrateCommand(m.schema.source))
	}
	switch {
	case m.adapter != nil:
	case m.schema.source != "":
		return schemaErrorf(ErrSchemaNewer, "schema fedsender is for source %q, which is not part of this sender; name its folder: %s, or install a newer sender",
			m.source, migrateCommand(m.source))
	default:
		return schemaErrorf(ErrOtherSource, "there is no source %q; use one of %s, or name a folder: --source ./%[1]s", m.source, strings.Join(SourceNames(), ", "))
	}
	if err := m.schema.checkVersion(m.adapter); errors.Is(err, ErrSchemaNewer) {
		return err
	}
	return m.chooseVariant(ctx)
}

// name finds out what the source is called, and its adapter if there is one.
func (m *migration) name(ctx context.Context) (err error) {
	m.source = m.opts.Source
	if migrations.IsFolder(m.source) {
		if m.adapter, err = migrations.Open(m.source); err != nil {
			return schemaErrorf(ErrBadSource, "%s", err)
		}
		if m.source = m.adapter.Name(); sources[m.source] != nil {
			return schemaErrorf(ErrBadSource, "a folder can't be called %s, which is a source of sender itself", m.source)
		}
		return nil
	}
	if m.source == "" || m.source == "auto" {
		if m.source = m.schema.source; m.source == "" {
			if m.source, err = detect(ctx, m.conn); err != nil {
				return err
			}
		}
	}
	m.adapter = sources[m.source]
	return nil
}

// detect finds out whose tables the database has.
func detect(ctx context.Context, q Querier) (string, error) {
	for _, name := range SourceNames() {
		sql, err := sources[name].Detect()
		if err != nil || sql == "" {
			continue
		}
		var found bool
		if err := q.QueryRow(ctx, sql).Scan(&found); err != nil {
			return "", fmt.Errorf("look whether the tables are those of source %s: %w", name, err)
		}
		if found {
			return name, nil
		}
	}
	return "native", nil
}

// chooseVariant finds out which form the application's tables have. What was made for one of them goes with any.
func (m *migration) chooseVariant(ctx context.Context) error {
	known, err := m.adapter.Variants()
	if err != nil || len(known) == 0 {
		return err
	}
	if m.opts.Down {
		m.variant = m.schema.variant
		if !slices.Contains(known, m.variant) {
			m.variant = known[0]
		}
		return nil
	}
	sql, err := m.adapter.Variant()
	if err != nil {
		return err
	}
	if err := m.conn.QueryRow(ctx, sql).Scan(&m.variant); err != nil {
		return fmt.Errorf("look which tables the application has: %w", err)
	}
	if !slices.Contains(known, m.variant) {
		return schemaErrorf(ErrOtherSource, "source %s is for the tables of %s, and this database has others: %s",
			m.source, strings.Join(known, " and "), m.variant)
	}
	return nil
}
