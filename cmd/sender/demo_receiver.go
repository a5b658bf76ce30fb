package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fedsender/fedsender/test/demo"
)

func (a *app) receiverCommand() *cobra.Command {
	o := demo.ReceiverOptions{Out: a.out}
	var keys []string
	cmd := &cobra.Command{
		Use:   "receiver --key ID=FILE",
		Short: "Stand for all remote servers, and print what is delivered to them",
		Long: `Stand for all remote servers, for a first try without any. It takes deliveries to every domain,
checks signature, digest and date as strictly as any server, and prints a line for each. The
senders lead all their connections to it by SENDER_CONNECT_TO, names unchanged.`,
		Args: arguments(0, 0),
		RunE: verb(func(ctx context.Context, _ []string) error {
			o.Keys = make(map[string]string, len(keys))
			for _, key := range keys {
				// Key ids have = in their queries more often than files have it in their names.
				at := strings.LastIndex(key, "=")
				if at < 1 || at == len(key)-1 {
					return misused("--key must be ID=FILE, not %q", key)
				}
				o.Keys[key[:at]] = key[at+1:]
			}
			if len(o.Keys) == 0 {
				return misused("--key is missing: the id of the key that signs, and the file with its public half in PEM")
			}
			return demo.Receive(ctx, o)
		}),
	}
	cmd.Flags().StringVar(&o.Addr, "listen", "127.0.0.1:8480", "`HOST:PORT` to listen on")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "`ID=FILE`: the id of a key, and its public half in PEM; may be given several times (required)")
	return cmd
}
