package pg

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrTablesChanged says that the application has changed its tables, by an upgrade for instance: the views and functions
// that read them must be made anew. Everything goes on by itself afterwards.
var ErrTablesChanged = errors.New("the tables of the application are not the ones that schema fedsender was made for; run: sender migrate")

// SQLSTATE codes of a statement that does not fit the tables (Postgres manual, appendix A).
const (
	undefinedColumn   = "42703"
	undefinedTable    = "42P01"
	undefinedFunction = "42883"
	undefinedObject   = "42704"
	datatypeMismatch  = "42804"
)

// TablesChanged tells that a statement of a process failed because of that: [ErrTablesChanged] is the sentence for it, and
// the error says what was missed.
func TablesChanged(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return errors.Is(err, ErrTablesChanged)
	}
	switch server.Code {
	case undefinedColumn, undefinedTable, undefinedFunction, undefinedObject, datatypeMismatch:
		return true
	case invalidFunctionDefinition: // of one that returns a column whose type was changed
		return true
	}
	return false
}
