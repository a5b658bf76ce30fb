// Command river delivers through River (github.com/riverqueue/river): a job for each host in the same Postgres, worked off by as
// many processes as there are.
//
// It is given its best: jobs are inserted with COPY (InsertManyFast), a thousand at a time; an activity's document is read
// and digested once a process, not carried in each job; PEER_WORKERS and PEER_FETCH_COOLDOWN are what a sweep showed to be
// the fastest.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/fedsender/fedsender/test/bench/peers"
)

const (
	// batch is how many jobs are inserted with one statement.
	batch = 1000
	// fetchPollInterval is for jobs that no notification told of.
	fetchPollInterval = 200 * time.Millisecond
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}

type delivery struct {
	Activity int64  `json:"activity"`
	Inbox    string `json:"inbox"`
}

func (delivery) Kind() string { return "delivery" }

func run() error {
	ctx := context.Background()
	settings, err := peers.SettingsFromEnvironment()
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, settings.Database)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrate(ctx, pool); err != nil {
		return err
	}
	poster, err := peers.NewPoster(settings)
	if err != nil {
		return err
	}
	cooldown, err := time.ParseDuration(os.Getenv("PEER_FETCH_COOLDOWN"))
	if err != nil {
		return fmt.Errorf("PEER_FETCH_COOLDOWN: %w", err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{pool: pool, poster: poster})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: settings.Workers}},
		Workers:           workers,
		FetchCooldown:     cooldown,
		FetchPollInterval: fetchPollInterval,
		Logger:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	err = peers.Serve(os.Stdin, os.Stdout, func(order peers.Order) error { return enqueue(ctx, pool, client, order) })
	stopping, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return errors.Join(err, client.Stop(stopping))
}

// migrate makes River's tables and one for the activities. Several processes may do so at one time.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(1)`); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err == nil {
		_, err = conn.Exec(ctx, `
			create table if not exists activity (
			  id bigint generated always as identity primary key,
			  data json not null
			)`)
	}
	_, unlocked := conn.Exec(ctx, `select pg_advisory_unlock(1)`)
	return errors.Join(err, unlocked)
}

// enqueue inserts the activities, and a job for each host, an activity in each transaction.
func enqueue(ctx context.Context, pool *pgxpool.Pool, client *river.Client[pgx.Tx], order peers.Order) error {
	jobs := make([]river.InsertManyParams, 0, batch)
	for n := range order.Activities {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			var id int64
			document := peers.Activity(fmt.Sprintf("https://home.example/river/%d", n))
			if err := tx.QueryRow(ctx, `insert into activity (data) values ($1) returning id`, document).Scan(&id); err != nil {
				return err
			}
			for host := range order.Hosts {
				jobs = append(jobs, river.InsertManyParams{Args: delivery{Activity: id, Inbox: order.Inbox(host)}})
				if len(jobs) < batch && host < order.Hosts-1 {
					continue
				}
				if _, err := client.InsertManyFastTx(ctx, tx, jobs); err != nil {
					return err
				}
				jobs = jobs[:0]
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type worker struct {
	river.WorkerDefaults[delivery]
	pool   *pgxpool.Pool
	poster *peers.Poster

	documents sync.Map // activity → func() (*peers.Document, error)
}

func (w *worker) Work(ctx context.Context, job *river.Job[delivery]) error {
	read := sync.OnceValues(func() (*peers.Document, error) {
		var body []byte
		err := w.pool.QueryRow(ctx, `select data from activity where id = $1`, job.Args.Activity).Scan(&body)
		return peers.NewDocument(body), err
	})
	found, _ := w.documents.LoadOrStore(job.Args.Activity, read)
	document, err := found.(func() (*peers.Document, error))()
	if err != nil {
		w.documents.Delete(job.Args.Activity)
		return err
	}
	return w.poster.Post(ctx, job.Args.Inbox, document)
}
