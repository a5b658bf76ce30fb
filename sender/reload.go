package sender

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/pg"
)

// Secrets are what may change while a process runs.
type Secrets struct{ DatabaseURL, LeaseDatabaseURL, AdminToken string }

// ReadSecrets reads them from an environment (see [Environ]) and from the files that its _FILE variables name. Its error is a
// [*ConfigError].
func ReadSecrets(environment map[string]string) (Secrets, error) {
	environment, err := readSecretFiles(environment)
	return Secrets{environment["DATABASE_URL"], environment["SENDER_LEASE_DATABASE_URL"], environment["SENDER_ADMIN_TOKEN"]}, err
}

// HasFiles tells whether the environment names a file that is read again while a process runs: of a secret, or SENDER_CA_FILE.
func HasFiles(environment map[string]string) bool {
	if environment["SENDER_CA_FILE"] != "" {
		return true
	}
	for _, v := range Variables() {
		if v.Secret && environment[v.FileName] != "" {
			return true
		}
	}
	return false
}

// Reload is how Run learns of new secrets, and when it reads SENDER_CA_FILE again. A login to the database is tried before it takes
// the place of the one in force: a wrong one is said in the log and tried again each time. Leases stay where they are: their
// connection is made anew when it has to be.
type Reload struct {
	Read  func() (Secrets, error) // by one goroutine; nil: secrets never change, and only SENDER_CA_FILE is looked at
	Every time.Duration           // between two looks; 0: only when Now says
	Now   <-chan struct{}         // has the secrets read at once, with what connection strings name: password files, certificates
}

// slowestTry is between two tries of a login that was refused: each is a line in the server's log.
const slowestTry = time.Minute

// logins are the secrets in force.
type logins struct {
	pool, lease atomic.Pointer[pgx.ConnConfig]
	token       atomic.Pointer[string]
}

// reloading belongs to the goroutine of runReloads.
type reloading struct {
	*engine
	inForce Secrets
	refused Secrets           // the last that could not be taken
	pause   time.Duration     // until they are tried again
	again   time.Time         // when
	said    map[string]string // variable → what was said of it and is still so
}

// runReloads takes new secrets into use until ctx ends.
func (e *engine) runReloads(ctx context.Context) {
	reload := e.config.Reload
	if reload.Read == nil && e.config.CAFile == "" {
		return
	}
	var tick <-chan time.Time
	if reload.Every > 0 {
		ticker := time.NewTicker(reload.Every)
		defer ticker.Stop()
		tick = ticker.C
	}
	r := &reloading{
		engine: e, said: map[string]string{},
		inForce: Secrets{e.config.DatabaseURL, e.config.LeaseDatabaseURL, e.config.AdminToken},
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			r.look(ctx, false)
		case <-reload.Now:
			e.tellReload(ctx, true)
			clear(r.said)
			r.look(ctx, true)
			e.tellReload(ctx, false)
		}
	}
}

// look reads the secrets and takes those that have changed; where somebody asked for it, also what they name.
func (r *reloading) look(ctx context.Context, asked bool) {
	r.takeAuthorities()
	if r.config.Reload.Read == nil {
		return
	}
	secrets, err := r.config.Reload.Read()
	if err != nil {
		r.keep("secrets", err)
		return
	}
	delete(r.said, "secrets")
	if secrets == r.inForce && !asked || secrets == r.refused && !asked && time.Now().Before(r.again) {
		return
	}
	r.takeToken(secrets.AdminToken)
	if asked || secrets.DatabaseURL != r.inForce.DatabaseURL {
		r.takeDatabase(ctx, secrets)
	}
	if secrets.LeaseDatabaseURL != "" && (asked || secrets.LeaseDatabaseURL != r.inForce.LeaseDatabaseURL) {
		r.takeLease(ctx, secrets.LeaseDatabaseURL)
	}
	if (secrets.LeaseDatabaseURL == "") != (r.inForce.LeaseDatabaseURL == "") {
		r.keep("SENDER_LEASE_DATABASE_URL", errors.New("it was set or unset; that needs a restart"))
	}
	if asked {
		r.log.Info("the secrets were read again")
	}
	r.putOff(secrets, asked)
}

// takeAuthorities has certificates trusted by what SENDER_CA_FILE holds.
func (r *reloading) takeAuthorities() {
	if r.client == nil || r.config.CAFile == "" {
		return
	}
	certificates, err := r.client.ReloadCAFile()
	if err != nil {
		r.keep("SENDER_CA_FILE", err)
		return
	}
	delete(r.said, "SENDER_CA_FILE")
	if certificates > 0 {
		r.log.Info("SENDER_CA_FILE holds other certificates; new connections are made with them", "certificates", certificates)
	}
}

func (r *reloading) takeToken(token string) {
	if err := checkAdminToken(token); err != nil {
		r.keep("SENDER_ADMIN_TOKEN", errors.New("its new value "+err.Problem))
		return
	}
	delete(r.said, "SENDER_ADMIN_TOKEN")
	if token != r.inForce.AdminToken {
		r.logins.token.Store(&token)
		r.inForce.AdminToken = token
		r.log.Info("SENDER_ADMIN_TOKEN has a new value")
	}
}

// putOff has secrets that were not all taken wait longer each time.
func (r *reloading) putOff(secrets Secrets, asked bool) {
	if secrets != r.refused || asked {
		r.pause = 0
	}
	r.refused, r.pause = secrets, min(2*r.pause+r.config.Reload.Every, slowestTry)
	r.again = time.Now().Add(r.pause)
}

func (r *reloading) takeDatabase(ctx context.Context, secrets Secrets) {
	login, err := r.try(ctx, r.poolConfig, secrets.DatabaseURL)
	if err != nil {
		r.keep("DATABASE_URL", err)
		return
	}
	r.logins.pool.Store(login)
	if r.inForce.LeaseDatabaseURL == "" {
		r.logins.lease.Store(login)
	}
	// Those that are there may belong to a role that is about to lose its rights.
	r.pool.Reset()
	r.taken("DATABASE_URL", secrets.DatabaseURL != r.inForce.DatabaseURL)
	r.inForce.DatabaseURL = secrets.DatabaseURL
}

func (r *reloading) takeLease(ctx context.Context, url string) {
	login, err := r.try(ctx, r.logins.lease.Load(), url)
	if err != nil {
		r.keep("SENDER_LEASE_DATABASE_URL", err)
		return
	}
	r.logins.lease.Store(login)
	r.taken("SENDER_LEASE_DATABASE_URL", url != r.inForce.LeaseDatabaseURL)
	r.inForce.LeaseDatabaseURL = url
}

func (r *reloading) try(ctx context.Context, cfg *pgx.ConnConfig, url string) (*pgx.ConnConfig, error) {
	login, err := pg.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("its new value %w", err)
	}
	return login, pg.TryLogin(ctx, cfg, login)
}

func (r *reloading) taken(variable string, changed bool) {
	delete(r.said, variable)
	if changed {
		r.log.Info(variable + " has a new value, and the server takes it; new connections are made with it")
	}
}

// keep says why what is in force stays so, once for each reason.
func (r *reloading) keep(variable string, why error) {
	said := pg.Sentence(why)
	if r.said[variable] == said {
		return
	}
	r.said[variable] = said
	r.log.Warn(variable+" can't be replaced; what is in force stays so, and the new value is tried again", "error", said)
}
