package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
)

const (
	database = "demo"
	// startPatience is far above the second that senders need to start and to share the servers.
	startPatience = 30 * time.Second
)

// prepare starts everything but the stream.
func (d *demo) prepare(ctx context.Context) error {
	d.screen.title(fmt.Sprintf("sender demo: %s simulated servers, three senders, a private Postgres", thousands(len(d.cast.domains))))
	if err := d.startPostgres(ctx); err != nil {
		return err
	}
	if err := d.startFediverse(ctx); err != nil {
		return err
	}
	if err := d.startSenders(ctx); err != nil {
		return err
	}
	return d.tellWhereToLook(ctx)
}

// startPostgres takes local programs if it may, and downloads some if it must.
func (d *demo) startPostgres(ctx context.Context) (err error) {
	if d.Postgres != postgres.EmbeddedBinaries {
		d.server, err = postgres.Start(ctx, postgres.Options{Binaries: postgres.LocalBinaries})
		if err == nil || d.Postgres == postgres.LocalBinaries || ctx.Err() != nil {
			return err
		}
		d.screen.event("No Postgres on this machine that can be used: downloading one (15 MB, once).")
	}
	server, downloadErr := postgres.Start(ctx, postgres.Options{Binaries: postgres.EmbeddedBinaries})
	if downloadErr != nil {
		return errors.Join(err, downloadErr)
	}
	d.server = server
	return nil
}

// startFediverse also migrates and fills the database.
func (d *demo) startFediverse(ctx context.Context) error {
	url, err := d.server.CreateDatabase(ctx, database)
	if err != nil {
		return err
	}
	// In Postgres' directory, which the next start of one removes should this demo be killed.
	config := fediverse.Config{Dir: filepath.Dir(d.server.DataDir())}
	if d.cluster, err = fleet.NewCluster(ctx, d.Binary, url, config); err != nil {
		return err
	}
	var version string
	if err := d.cluster.DB.QueryRow(ctx, `select split_part(current_setting('server_version'), ' ', 1)`).Scan(&version); err != nil {
		return fmt.Errorf("ask Postgres for its version: %w", err)
	}
	d.screen.event("Postgres %s runs on port %d; schema fedsender is made.", version, d.server.Port())
	d.cast.instruct(d.cluster.Fedi)
	world, err := fleet.Seed(ctx, d.cluster.DB, d.cluster.Fedi, fleet.Seeding{
		Actors: actors, Instances: len(d.cast.domains), Domain: d.cast.domain, Followers: follows,
	})
	if err != nil {
		return err
	}
	d.stream = newStream(d.cluster.DB, world.Actors, d.cast, d.Activities)
	d.screen.event("%s servers listen. Ann has a follower on each, Bob on every other.", thousands(len(d.cast.domains)))
	d.screen.more("Some are slow (%d: %s an answer) or flaky (%d: 5xx now and then),", d.cast.slow, seconds(slowBy), d.cast.flaky)
	d.screen.more("one is busy (429, Retry-After: %d), one will be down for a while.", int(busyPause.Seconds()))
	return nil
}

func (d *demo) startSenders(ctx context.Context) error {
	d.cluster.Env = []string{"SENDER_USER_AGENT=fedsender-demo (+https://" + fleet.Home + "/)"}
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	var err error
	if d.senders, err = d.cluster.Start(starting, senders); err != nil {
		return err
	}
	if err := d.cluster.WaitHeld(starting, senders); err != nil {
		return err
	}
	d.watch = newWatch(d)
	held, err := d.watch.leases(ctx)
	if err != nil {
		return err
	}
	var shares []string
	for _, s := range d.senders {
		shares = append(shares, thousands(held[s.Name]))
	}
	d.screen.event("Three senders run and have shared the servers: %s.", list(shares))
	return nil
}

// tellWhereToLook names the ways to look inside meanwhile.
func (d *demo) tellWhereToLook(ctx context.Context) error {
	var pages []string
	for _, s := range d.senders {
		address, err := s.Admin(ctx)
		if err != nil {
			return err
		}
		pages = append(pages, "http://"+address+"/")
	}
	d.screen.print("", "  Look inside while it runs. Ctrl-C ends it and removes everything.", "",
		"    "+strings.Join(pages, "  "),
		fmt.Sprintf("    export DATABASE_URL=postgres://postgres@127.0.0.1:%d/%s", d.server.Port(), database),
		`    psql "$DATABASE_URL" -xc 'table fedsender.queue_summary'`, "")
	return nil
}
