package sender

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

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
