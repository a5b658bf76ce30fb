// Command bare delivers in a loop: no queue, no database, no order, no retry. What it needs is what signing and sending
// cost a Go program that uses nothing but the standard library.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sourcegraph/conc/pool"

	"github.com/fedsender/fedsender/test/bench/peers"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run() error {
	settings, err := peers.SettingsFromEnvironment()
	if err != nil {
		return err
	}
	poster, err := peers.NewPoster(settings)
	if err != nil {
		return err
	}
	var ordered int
	return peers.Serve(os.Stdin, os.Stdout, func(order peers.Order) error {
		group := pool.New().WithContext(context.Background()).WithCancelOnError().WithMaxGoroutines(settings.Workers)
		for range order.Activities {
			ordered++
			document := peers.NewDocument(peers.Activity(fmt.Sprintf("https://home.example/bare/%d/%d", os.Getpid(), ordered)))
			for host := range order.Hosts {
				group.Go(func(ctx context.Context) error { return poster.Post(ctx, order.Inbox(host), document) })
			}
		}
		return group.Wait()
	})
}
