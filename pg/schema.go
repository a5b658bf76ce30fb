package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fedsender/fedsender/migrations"
)

// What can be wrong with the schema. Each is wrapped by an error that says in one sentence what to do.
var (
	ErrNoSchema    = errors.New("no schema")
	ErrSchemaOlder = errors.New("the schema is older than the program")
	ErrSchemaNewer = errors.New("the schema is newer than the program")
	ErrOtherSource = errors.New("the schema is of another source")
	// ErrBadSource: the folder of a source does not make all that is needed, or is none.
	ErrBadSource = errors.New("the source is not as it should be")
	// ErrInUse is what stops Migrate from dropping a schema that processes deliver from.
	ErrInUse = errors.New("the schema is in use")
	// ErrNotAllowed: the role lacks a privilege; the sentence names the GRANT.
	ErrNotAllowed = errors.New("not allowed")
)

// schemaError is a sentence for a person with one of the kinds above for errors.Is.
type schemaError struct {
	kind     error
	sentence string
}

func (e *schemaError) Error() string { return e.sentence }
func (e *schemaError) Unwrap() error { return e.kind }

func schemaErrorf(kind error, format string, args ...any) error {
	return &schemaError{kind: kind, sentence: fmt.Sprintf(format, args...)}
}

// sources are the folders of migrations by what fedsender.source calls them.
var sources = migrations.Sources()

// SourceNames are what MigrateOptions.Source can be, in order.
func SourceNames() []string { return slices.Sorted(maps.Keys(sources)) }

// schema is what there is of schema fedsender, and who asks.
type schema struct {
	database, role string
	owner          string // of the schema; empty: there is none
	made           bool   // it has a version
	version        int32
	source         string   // empty: none yet
	variant        string   // what form of the application's tables it was made for; empty: there is only one
	variantNow     string   // what form they have
	lacks          []string // what a source that is not part of the program should have made
	silent         bool     // triggers are missing on tables of the application
	views          string   // see viewsVersion
	encoding       string   // of the database
}

func readSchema(ctx context.Context, q Querier) (s schema, err error) {
	var hasSource bool
	err = q.QueryRow(ctx, `
		select current_database(), current_user, coalesce(max(pg_get_userbyid(n.nspowner)), ''),
		  coalesce(bool_or(c.relname = 'schema_version'), false),
		  coalesce(bool_or(c.relname = 'source'), false),
		  coalesce(max(obj_description(c.oid, 'pg_class')) filter (where c.relname = 'schema_version'), ''),
		  current_setting('server_encoding')
		from pg_catalog.pg_namespace n
		left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname in ('schema_version', 'source')
		where n.nspname = 'fedsender'`).Scan(&s.database, &s.role, &s.owner, &s.made, &hasSource, &s.views, &s.encoding)
	if err != nil {
		return s, fmt.Errorf("look for schema fedsender: %w", err)
	}
	if !s.made {
		return s, nil
	}
	if err := q.QueryRow(ctx, `select version from fedsender.schema_version`).Scan(&s.version); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, s.explain(fmt.Errorf("read the version of schema fedsender: %w", err))
	}
	if hasSource {
		// Columns that an older schema lacks are null.
		err := q.QueryRow(ctx, `
			select s.name, coalesce(s.r ->> 'variant', ''), coalesce(s.r ->> 'variant_now', ''), coalesce(not (s.r ->> 'rings')::boolean, false)
			from (select name, to_jsonb(source) as r from fedsender.source) s`).Scan(&s.source, &s.variant, &s.variantNow, &s.silent)
		if err != nil {
			return s, s.explain(fmt.Errorf("read the source of schema fedsender: %w", err))
		}
	}
	if s.source != "" && sources[s.source] == nil {
		s.lacks, err = lacking(ctx, q)
	}
	return s, err
}

// explain turns a missing privilege into what to do about it.
func (s schema) explain(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != insufficientPrivilege {
		return err
	}
	role, database, owner := identifier(s.role), identifier(s.database), identifier(s.owner)
	if s.owner == "" {
		return schemaErrorf(ErrNotAllowed, "role %s may not create schema fedsender in database %s; let its owner run: grant create on database %s to %s",
			role, database, database, role)
	}
	return schemaErrorf(ErrNotAllowed, "role %s lacks a privilege in schema fedsender (%s); its owner %s can give it: for the GRANTs of each role see \"Roles\" in docs/sql.md",
		role, server.Message, owner)
}

// check says whether the program can work with it.
func (s schema) check() error {
	if err := s.checkVersion(sources[s.source]); err != nil {
		return err
	}
	return s.checkVariant()
}

// checkVersion compares the version with that of the adapter; nil: it is not part of the program, and what it made must do.
func (s schema) checkVersion(adapter *migrations.Source) error {
	if !s.made || s.version == 0 {
		return schemaErrorf(ErrNoSchema, "database %s has no schema fedsender; run: sender migrate", identifier(s.database))
	}
	if s.source == "" {
		return schemaErrorf(ErrSchemaOlder, "schema fedsender is not finished; run: sender migrate")
	}
	if adapter == nil {
		return s.checkComplete()
	}
	want, err := adapter.Version()
	switch {
	case err != nil:
		return err
	case s.version < want:
		return schemaErrorf(ErrSchemaOlder, "schema fedsender has version %d, older than the %d of this sender; run: %s", s.version, want, migrateCommand(s.source))
	case s.version > want:
		return schemaErrorf(ErrSchemaNewer, "schema fedsender has version %d, newer than the %d of this sender; install the newer sender that made it", s.version, want)
	}
	return nil
}

// checkVariant tells of an application whose upgrade has changed its tables.
func (s schema) checkVariant() error {
	var known []string
	var err error
	if adapter := sources[s.source]; adapter != nil {
		known, err = adapter.Variants()
	}
	switch {
	case err != nil:
		return err
	case len(known) > 0 && s.variant == "":
		return schemaErrorf(ErrSchemaOlder, "schema fedsender is not finished; run: sender migrate")
	case s.variant == s.variantNow:
		return nil
	}
	if len(known) > 0 && !slices.Contains(known, s.variantNow) {
		return schemaErrorf(ErrSchemaNewer, "the tables of the application have changed (made for %s, found %s), and this sender knows only %s; install a newer one",
			s.variant, s.variantNow, strings.Join(known, ", "))
	}
	return schemaErrorf(ErrSchemaOlder, "the tables of the application have changed (made for %s, found %s); run: %s",
		s.variant, s.variantNow, migrateCommand(s.source))
}

// CheckSchema says whether the schema is the one that this program was made for: nil, or an error that matches
// ErrNoSchema, ErrSchemaOlder, ErrSchemaNewer or ErrNotAllowed and says what to do in one sentence, or that of a
// database that does not answer.
func CheckSchema(ctx context.Context, q Querier) error {
	s, err := readSchema(ctx, q)
	if err != nil {
		return err
	}
	return s.check()
}

func identifier(name string) string { return pgx.Identifier{name}.Sanitize() }
