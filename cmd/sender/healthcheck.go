package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/sender"
)

const (
	healthTimeout = 4 * time.Second
	// maxHealthBytes is far above the one sentence that is answered.
	maxHealthBytes = 4 << 10
)

// healthcheckCommand is for container images, which have no other program to ask with. People have status and doctor.
func (a *app) healthcheckCommand() *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:    "healthcheck",
		Short:  "Ask the process on this machine whether it lives; exit code 1 if not",
		Long:   "Ask the process whose SENDER_ADMIN_ADDR is the same whether it lives (/healthz), or whether it can deliver (/readyz).",
		Hidden: true,
		Args:   arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error {
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			return a.healthcheck(ctx, path)
		}),
	}
	a.addVariables(cmd, "SENDER_ADMIN_ADDR")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it can deliver")
	return cmd
}

func (a *app) healthcheck(ctx context.Context, path string) error {
	address, err := sender.ParseAdminAddr(a.environment)
	if err != nil {
		return err
	}
	if address == "" {
		return misused("SENDER_ADMIN_ADDR is empty: the process serves no health")
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	// Not by the proxy that deliveries may take.
	response, err := (&http.Client{Transport: &http.Transport{DialContext: dialHere}}).Do(request)
	if err != nil {
		return fmt.Errorf("no process answers on %s: %w", address, errors.Unwrap(err))
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxHealthBytes))
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(said))
	if response.StatusCode != http.StatusOK {
		return errors.New(text)
	}
	_, err = fmt.Fprintln(a.out, safe(text))
	return err
}

// dialHere connects to an address that is listened on. An image has no /etc/hosts to look localhost up in.
func dialHere(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return dialer.DialContext(ctx, network, address)
	}
	conn, err := dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		if six, failed := dialer.DialContext(ctx, network, net.JoinHostPort("::1", port)); failed == nil {
			return six, nil
		}
	}
	return conn, err
}
