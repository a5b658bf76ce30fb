package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/tern/v2/migrate"

	"github.com/fedsender/fedsender/migrations"
)

// What can be wrong with the schema. Each is wrapped by an error that says in one sentence what to do.
var (
	ErrNoSchema    = errors.New("no schema")
	ErrSchemaOlder = errors.New("the schema is older than the program")
	ErrSchemaNewer = errors.New("the schema is newer than the program")
	ErrOtherSource = errors.New("the schema is of another source")
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
var sources = map[string]fs.FS{"native": migrations.Native}

// latest is the version that the newest migration of a source leads to.
func latest(source string) (int32, error) {
	names, err := migrate.FindMigrations(sources[source])
	return int32(len(names)), err
}

// schema is what there is of schema fedsender, and who asks.
type schema struct {
	database, role string
	owner          string // of the schema; empty: there is none
	made           bool   // it has a version
	version        int32
	source         string // empty: none yet
	views          string // see viewsVersion
}

func readSchema(ctx context.Context, q Querier) (s schema, err error) {
	var hasSource bool
	err = q.QueryRow(ctx, `
		select current_database(), current_user, coalesce(max(pg_get_userbyid(n.nspowner)), ''),
		  coalesce(bool_or(c.relname = 'schema_version'), false),
		  coalesce(bool_or(c.relname = 'source'), false),
		  coalesce(max(obj_description(c.oid, 'pg_class')) filter (where c.relname = 'schema_version'), '')
		from pg_catalog.pg_namespace n
		left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname in ('schema_version', 'source')
		where n.nspname = 'fedsender'`).Scan(&s.database, &s.role, &s.owner, &s.made, &hasSource, &s.views)
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
		if err := q.QueryRow(ctx, `select name from fedsender.source`).Scan(&s.source); err != nil {
			return s, s.explain(fmt.Errorf("read the source of schema fedsender: %w", err))
		}
	}
	return s, nil
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

// check compares the version with that of the program.
func (s schema) check() error {
	if !s.made || s.version == 0 {
		return schemaErrorf(ErrNoSchema, "database %s has no schema fedsender; run: sender migrate", identifier(s.database))
	}
	if sources[s.source] == nil {
		return schemaErrorf(ErrSchemaNewer, "schema fedsender is for source %q, which this version of sender does not know; install a newer one", s.source)
	}
	want, err := latest(s.source)
	switch {
	case err != nil:
		return err
	case s.version < want:
		return schemaErrorf(ErrSchemaOlder, "schema fedsender has version %d, older than the %d of this sender; run: sender migrate", s.version, want)
	case s.version > want:
		return schemaErrorf(ErrSchemaNewer, "schema fedsender has version %d, newer than the %d of this sender; install the newer sender that made it", s.version, want)
	}
	return nil
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
