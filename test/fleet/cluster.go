package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/pg"
	"github.com/fedsender/fedsender/test/fediverse"
)

// Cluster is a migrated database, a fediverse and the senders between them.
type Cluster struct {
	Binary   string
	Database string // URL
	DB       *pgxpool.Pool
	Fedi     *fediverse.Fediverse
	Env      []string // of every sender that is started from now on
	// Adjust changes what is asked of a sender before it starts; nil: nothing.
	Adjust func(*Options)
	Log    io.Writer

	mu      sync.Mutex
	senders []*Sender
	started int
}

// NewCluster makes schema fedsender, native or for the application whose tables are there, and starts a fediverse. The caller
// closes it.
func NewCluster(ctx context.Context, binary, database string, config fediverse.Config) (*Cluster, error) {
	if err := Migrate(ctx, database); err != nil {
		return nil, err
	}
	db, err := pgxpool.New(ctx, database)
	if err != nil {
		return nil, err
	}
	fedi, err := fediverse.Start(config)
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Cluster{Binary: binary, Database: database, DB: db, Fedi: fedi}, nil
}

// Migrate makes schema fedsender in a database, the native one if no application's tables are there.
func Migrate(ctx context.Context, database string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // the migration is what counts
	_, err = pg.Migrate(ctx, conn, pg.MigrateOptions{})
	return err
}

// Start starts so many senders and waits until they are ready.
func (c *Cluster) Start(ctx context.Context, n int) ([]*Sender, error) {
	return c.StartOn(ctx, make([]Machine, n)...)
}

// StartOn starts a sender on each machine (nil: this one) and waits until they are ready. Database and Fedi must be
// reached from there by the addresses that they have here.
func (c *Cluster) StartOn(ctx context.Context, machines ...Machine) ([]*Sender, error) {
	fresh, err := c.launch(ctx, machines)
	if err != nil {
		return fresh, err
	}
	for _, s := range fresh {
		if err := s.WaitReady(ctx); err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// Launch starts so many senders and waits until their processes tell where their admin servers are, which is when they
// have loaded what they need.
func (c *Cluster) Launch(ctx context.Context, n int) ([]*Sender, error) {
	return c.launch(ctx, make([]Machine, n))
}

func (c *Cluster) launch(ctx context.Context, machines []Machine) ([]*Sender, error) {
	var fresh []*Sender
	for _, machine := range machines {
		c.mu.Lock()
		c.started++
		name := fmt.Sprintf("sender-%d", c.started)
		c.mu.Unlock()
		options := Options{
			Binary: c.Binary, Name: name, Database: c.Database, ConnectTo: c.Fedi.Addr(), CAFile: c.Fedi.CAFile(),
			Env: c.Env, Log: c.Log, On: machine,
		}
		if c.Adjust != nil {
			c.Adjust(&options)
		}
		s, err := Start(options)
		if err != nil {
			return fresh, err
		}
		fresh = append(fresh, s)
		c.mu.Lock()
		c.senders = append(c.senders, s)
		c.mu.Unlock()
	}
	for _, s := range fresh {
		if _, err := s.Admin(ctx); err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

// Senders are those that run.
func (c *Cluster) Senders() []*Sender {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.senders = slices.DeleteFunc(c.senders, func(s *Sender) bool {
		select {
		case <-s.Ended():
			return true
		default:
			return false
		}
	})
	return slices.Clone(c.senders)
}

// WaitHeld blocks until every instance is held by somebody and, with n > 0, each of n processes holds some.
func (c *Cluster) WaitHeld(ctx context.Context, n int) error {
	return Until(ctx, "every instance is held", func() (bool, error) {
		var instances, held, holders int
		err := c.DB.QueryRow(ctx, `
			select (select count(*) from fedsender.source_instance),
			  count(*), count(distinct l.pid)
			from pg_locks l
			where l.locktype = 'advisory' and l.classid = 1717920627 and l.objsubid = 2 and l.granted
			  and l.database = (select oid from pg_database where datname = current_database())`).Scan(&instances, &held, &holders)
		return err == nil && held == instances && (n == 0 || holders == n), err
	})
}

// WaitSettled blocks until the cursor of every instance has reached the highest id.
func (c *Cluster) WaitSettled(ctx context.Context) error {
	return Until(ctx, "every cursor has reached the end", func() (bool, error) {
		var behind int
		err := c.DB.QueryRow(ctx, `
			select count(*)
			from fedsender.source_queue_state
			where last_successful_id < (select coalesce(max(id), 0) from fedsender.source_activity)`).Scan(&behind)
		return err == nil && behind == 0, err
	})
}

// Close stops all senders, the fediverse and the connections. It reports senders that did not end well.
func (c *Cluster) Close(ctx context.Context) error {
	var failed []error
	for _, s := range c.Senders() {
		failed = append(failed, s.Stop(ctx))
	}
	c.DB.Close()
	return errors.Join(append(failed, c.Fedi.Close())...)
}
