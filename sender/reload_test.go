package sender

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/transcript"
)

func TestReload_ABlankTokenIsRefusedAsAtStart(t *testing.T) {
	log := &transcript.Transcript{}
	read := Secrets{AdminToken: "first"}
	e := &engine{log: slog.New(slog.NewTextHandler(log, nil)), config: Config{Reload: Reload{Read: func() (Secrets, error) { return read, nil }}}}
	r := &reloading{engine: e, said: map[string]string{}, inForce: read}
	first := read.AdminToken
	e.logins.token.Store(&first)
	for _, token := range []string{" ", "\t\n"} {
		read = Secrets{AdminToken: token}
		r.look(t.Context(), false)
		require.Equal(t, "first", *e.logins.token.Load())
		require.Contains(t, log.String(), "SENDER_ADMIN_TOKEN can't be replaced")
	}
	for _, token := range []string{"second", ""} {
		read = Secrets{AdminToken: token}
		r.look(t.Context(), false)
		require.Equal(t, token, *e.logins.token.Load())
	}
}

func TestReload_TheAuthoritiesAloneAreReadAgain(t *testing.T) {
	log := &transcript.Transcript{}
	first, err := fediverse.NewAuthority(t.TempDir())
	require.NoError(t, err)
	second, err := fediverse.NewAuthority(t.TempDir())
	require.NoError(t, err)
	client, err := deliver.NewClient(deliver.Config{CAFile: first.CAFile()})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := &engine{
		log: slog.New(slog.NewTextHandler(log, nil)), client: client,
		config: Config{CAFile: first.CAFile(), Reload: Reload{Every: time.Millisecond}},
	}
	var group conc.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { e.runReloads(ctx) })
	text, err := os.ReadFile(second.CAFile())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(first.CAFile()+".new", text, 0o600))
	require.NoError(t, os.Rename(first.CAFile()+".new", first.CAFile()))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "certificates=1") }, 10*time.Second, time.Millisecond)
}
