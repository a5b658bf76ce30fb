package pg

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ConnectError is a connection that could not be made, in one sentence: where, what failed, what to do. It holds no
// secret and does not wrap its cause, which could.
type ConnectError struct {
	Where   string // "database app as user bob on db:5432"
	Problem string
	Remedy  string
	// Temporary: it may well work in a few seconds, with nothing changed.
	Temporary bool
	// NotReady: the server is there and says that it takes no connections or no writes at the moment. Waiting helps.
	NotReady bool
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("can't connect to %s: %s; %s", e.Where, e.Problem, e.Remedy)
}

// Explain turns the error of a connection attempt into a [*ConnectError]. It returns any other error, and one that is
// explained already, as it is, and that of an ended context.
func Explain(err error, cfg *pgx.ConnConfig) error {
	var explained *ConnectError
	var failed *pgconn.ConnectError
	isOurs := errors.As(err, &explained)
	isConnect := errors.As(err, &failed) || errors.Is(err, context.DeadlineExceeded) || lacksServer(err)
	if err == nil || isOurs || errors.Is(err, context.Canceled) || !isConnect {
		return err
	}
	e := &ConnectError{Where: where(cfg)}
	e.Problem, e.Remedy, e.Temporary = explain(errors.Join(telling(err)...), cfg)
	e.NotReady = saysNotReady(err)
	return e
}

// where names the database without any secret.
func where(cfg *pgx.ConnConfig) string {
	database := cfg.Database
	if database == "" {
		database = cfg.User
	}
	return fmt.Sprintf("database %s as user %s on %s", printable(database), printable(cfg.User), printable(strings.Join(hosts(cfg), ", ")))
}

// hosts lists each place that is tried, once.
func hosts(cfg *pgx.ConnConfig) []string {
	_, first := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	all := []string{first}
	for _, fallback := range cfg.Fallbacks {
		if _, address := pgconn.NetworkAddress(fallback.Host, fallback.Port); !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// telling are the attempts without those that failed only by the way they were made, where another went on: sslmode=prefer,
// which is the default, tries each host with TLS and without it, and a server may have but one of them.
func telling(err error) []error {
	all := attempts(err)
	told := slices.DeleteFunc(slices.Clone(all), func(attempt error) bool { return refusesTLS(attempt) || insistsOnTLS(attempt) })
	if len(told) == 0 {
		return all
	}
	return told
}

// attempts are the errors of all hosts and ways that were tried.
func attempts(err error) []error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return []error{err}
	}
	if several, ok := failed.Unwrap().(interface{ Unwrap() []error }); ok {
		return several.Unwrap()
	}
	return []error{failed.Unwrap()}
}

var roomInPooler = fmt.Sprintf("raise default_pool_size of the pooler: each process needs %d (1 for its leases, 1 to listen, up to %d beside)", ProcessConns, PoolConns)

func refusesTLS(err error) bool {
	return strings.Contains(err.Error(), "server refused TLS connection")
}

// insistsOnTLS tells that pg_hba.conf has no line for connections without TLS.
func insistsOnTLS(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == invalidAuthorization && strings.Contains(server.Message, "no encryption")
}

func explain(err error, cfg *pgx.ConnConfig) (problem, remedy string, temporary bool) {
	var server *pgconn.PgError
	var dns *net.DNSError
	switch {
	case saysQueryWait(err):
		return "the pooler has no free server connection", roomInPooler, true
	case errors.Is(err, errNoServer):
		return "it let this client in and does not answer, as a pooler that has no free server connection", roomInPooler, true
	case errors.As(err, &server):
		return explainServer(server, cfg)
	case silentHost(err) != "":
		return silentHost(err) + " accepts connections and does not answer", "check that a Postgres server listens there and that it is not stuck", true
	case refusesTLS(err):
		return "the server has no TLS", "turn it on there (ssl = on), or set sslmode=disable if the way to it is safe", false
	case isTLS(err):
		return "TLS failed: " + printable(tlsReason(err)), "check sslmode and sslrootcert, and the server's certificate", false
	case errors.Is(err, ErrOtherServer):
		return "it leads to another server or database than the lease session",
			"make DATABASE_URL and SENDER_LEASE_DATABASE_URL lead to the same primary, or wait for the fail-over to end", true
	case errors.Is(err, ErrReplaced):
		return "it is a primary that was replaced: this process has used one that took over from it",
			"connect to that one, or restart this process if going back is meant", true
	case takesNoneOf(err):
		return "none of the hosts takes writes", "name the primary, or wait for the fail-over to end", true
	case errors.As(err, &dns):
		return "the host name " + printable(dns.Name) + " can't be resolved", "check the host, and that DNS works here", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", "check host and port, and that Postgres runs there and listens on that address", true
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such socket", "check the directory, and that Postgres runs on this machine", true
	case errors.Is(err, fs.ErrPermission):
		return "no permission to use the socket", "check the rights of its directory and who runs this program", false
	case pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", "check host, port and firewalls; connect_timeout gives it more time", true
	}
	return printable(lastLine(err.Error())), "check that host and port are those of a Postgres server", true
}

// silentHost is the address of a host that took the connection and let the time run out before it said anything: a server that
// is stuck, or something else that listens there. Empty: there is none. Until the connection stands, pgconn calls it a dial error.
func silentHost(err error) string {
	for line := range strings.Lines(err.Error()) {
		address, failed, found := strings.Cut(strings.TrimSpace(line), " (")
		_, failed, _ = strings.Cut(failed, "): ")
		if found && strings.Contains(failed, "timeout: ") && !strings.HasPrefix(failed, "dial error") {
			return printable(address)
		}
	}
	return ""
}

// SQLSTATE codes of a refused connection (Postgres manual, appendix A).
const (
	invalidPassword       = "28P01"
	invalidAuthorization  = "28000"
	invalidCatalogName    = "3D000"
	insufficientPrivilege = "42501"
	tooManyConnections    = "53300"
	cannotConnectNow      = "57P03"
	adminShutdown         = "57P01"
	crashShutdown         = "57P02"
	diskFull              = "53100"
	outOfMemory           = "53200" // of the lock table too
	protocolViolation     = "08P01" // what PgBouncer says of all that it does not do
)

func explainServer(err *pgconn.PgError, cfg *pgx.ConnConfig) (problem, remedy string, temporary bool) {
	said := printable(err.Message)
	switch err.Code {
	case invalidPassword:
		if cfg.Password == "" {
			return said + " (none was given)", "put it into the connection string, PGPASSWORD or DATABASE_URL_FILE", false
		}
		return said, "check the password; in a URL, its special characters must be percent-encoded", false
	case invalidAuthorization:
		switch user := identifier(cfg.User); {
		case strings.Contains(said, "not permitted to log in"):
			return said, printable("alter role " + user + " login"), false
		case strings.Contains(said, "does not exist"):
			return said, printable("check the user, or create it: create role " + user + " login"), false
		}
		return said, "check the user, sslmode, and pg_hba.conf on the server", false
	case invalidCatalogName:
		return said, "check the database's name, or create it: createdb", false
	case insufficientPrivilege:
		return said, printable("grant it: grant connect on database " + identifier(cfg.Database) + " to " + identifier(cfg.User)), false
	case tooManyConnections:
		return said, moreConnections(said, cfg), true
	case outOfMemory:
		if strings.Contains(said, "shared memory") {
			return said, "its lock table is full: end what holds so many locks, or raise max_locks_per_transaction and restart it", true
		}
	case cannotConnectNow, adminShutdown, crashShutdown:
		return said, "wait until it has started", true
	case queryCanceled:
		if mend := shortTimeout(err, identifier(cfg.User)); mend != "" {
			return said, printable(mend), false
		}
	case protocolViolation:
		if strings.Contains(said, "unsupported startup parameter") {
			return said, "take it out of the connection string, or add it to ignore_startup_parameters of the pooler", false
		}
		return said, "see the log of the pooler, and that it reaches the server", true
	}
	return said, "see the log of the server", false
}

// moreConnections names the limit that is too small, by what the server says of it.
func moreConnections(said string, cfg *pgx.ConnConfig) string {
	limit := ConnectionLimit{}
	switch {
	case strings.Contains(said, "for role"):
		limit.Of = "role " + printable(cfg.User)
	case strings.Contains(said, "for database"):
		limit.Of = "database " + printable(cfg.Database)
	default:
		return "raise max_connections, or end idle sessions"
	}
	return limit.Remedy()
}

// takesNoneOf tells that there are servers and all of them are read-only, by our own check or by pgx's.
func takesNoneOf(err error) bool {
	return errors.Is(err, ErrReadOnly) || strings.Contains(err.Error(), "read only connection")
}

// IsNotReady tells that the server is there and takes no connections, no writes or no more memory and locks at the moment:
// it starts, recovers, ends, is a standby, or is full. It may last, and needs nothing of who waits.
func IsNotReady(err error) bool {
	var explained *ConnectError
	return errors.As(err, &explained) && explained.NotReady || err != nil && saysNotReady(err)
}

// IsLost tells that a connection could not be made for a reason that may pass, or broke: the next may work.
func IsLost(err error) bool {
	var explained *ConnectError
	var network net.Error
	return errors.As(err, &explained) && explained.Temporary || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || IsNotReady(err)
}

func saysNotReady(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code {
		case tooManyConnections, cannotConnectNow, adminShutdown, crashShutdown, readOnlyTransaction, outOfMemory, diskFull:
			return true
		}
	}
	return takesNoneOf(err) || errors.Is(err, ErrReplaced) || lacksServer(err)
}

// isTLS leaves out a server that went away while TLS began, and refuses the next connection.
func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &host) || strings.Contains(err.Error(), "tls error") && !errors.Is(err, syscall.ECONNREFUSED)
}

func tlsReason(err error) string {
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return verification.Err.Error()
	}
	_, reason, found := strings.Cut(lastLine(err.Error()), "tls error: ")
	if !found {
		return lastLine(err.Error())
	}
	return reason
}

// Sentence is an error for a person, in one printable line: of an error of the server its message and hint.
func Sentence(err error) string {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return printable(err.Error())
	}
	text := server.Message
	switch {
	case server.Code == readOnlyTransaction:
		text = ErrReadOnly.Error()
	case shortTimeout(err, "…") != "":
		text += ": " + shortTimeout(err, "…")
	case server.Code == lockNotAvailable:
		text += ": an open transaction keeps what it needs, see pg_stat_activity; try again when that has ended"
	case isUndefined(server.Code) && strings.Contains(text, "fedsender."):
		text += ": a part of schema fedsender was dropped or changed; run: sender migrate, which makes views again, and then: sender doctor"
	case server.Hint != "":
		text += ": " + strings.TrimSuffix(server.Hint, ".")
	case server.Code == insufficientPrivilege:
		text += ": grant it to the role, or run as the owner of schema fedsender"
	}
	return printable(text)
}

// isUndefined tells of the SQLSTATEs of a table or view, a column and a function that are not there.
func isUndefined(code string) bool { return code == "42P01" || code == "42703" || code == "42883" }

func lastLine(text string) string {
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// printable keeps what a name from elsewhere holds from moving the cursor or breaking the line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, text)
}
