package deployment

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/postgres"
	"github.com/fedsender/fedsender/test/transcript"
)

const (
	patience = 20 * time.Second
	// followers is on how many servers Ann has one.
	followers = 20
)

// hand starts the services of the demo as Compose does, with what stands for the names that its network knows.
type hand struct {
	*testing.T
	services map[string]service
	names    *strings.Replacer
	path     string // PATH
	running  []*exec.Cmd
}

// do waits until the service has done its work.
func (h *hand) do(ctx context.Context, name string) {
	h.Helper()
	if said, err := h.command(ctx, name).CombinedOutput(); err != nil {
		h.Fatalf("%s: %v\n%s", name, err, said)
	}
}

// start lets the service run and returns what it prints.
func (h *hand) start(ctx context.Context, name string, more ...string) *transcript.Transcript {
	h.Helper()
	cmd, said := h.command(ctx, name), &transcript.Transcript{}
	cmd.Env = append(cmd.Env, more...)
	cmd.Stdout, cmd.Stderr = said, said
	ok(h.T, cmd.Start())
	h.running = append(h.running, cmd)
	return said
}

func (h *hand) command(ctx context.Context, name string) *exec.Cmd {
	h.Helper()
	s, found := h.services[name]
	if !found {
		h.Fatalf("there is no service %s", name)
	}
	words := append(append([]string{}, s.Entrypoint...), s.Command...)
	if len(s.Entrypoint) == 0 {
		words = append([]string{"sender"}, words...)
	}
	for i := range words {
		words[i] = h.names.Replace(words[i])
	}
	h.Setenv("PATH", h.path)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = []string{"PATH=" + h.path, "PSQLRC=/dev/null"}
	for variable, value := range s.Environment {
		cmd.Env = append(cmd.Env, variable+"="+h.names.Replace(value))
	}
	return cmd
}

// end stops all that was started, the last one first.
func (h *hand) end() {
	for i := len(h.running) - 1; i >= 0; i-- {
		_ = h.running[i].Process.Signal(syscall.SIGTERM)
		_ = h.running[i].Wait()
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func TestDemo_ItsServicesDeliverToAllServers(t *testing.T) {
	program, err := fleet.Binary(t.Context(), "")
	ok(t, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*patience)
	t.Cleanup(cancel) // after the services have ended by themselves: a receiver that is killed leaves its certificates behind
	keys := t.TempDir()
	database, err := url.Parse(postgres.Database(t))
	ok(t, err)
	receiver := freeAddress(t)
	script := filepath.Join(keys, "demo.sql")
	ok(t, os.WriteFile(script, []byte(strings.Replace(read(t, "deploy/compose/demo.sql"), `\watch i=1 c=60`, ";", 1)), 0o600)) // psql 15 counts no rounds
	h := &hand{
		T: t, services: readCompose(t, "deploy/compose/demo.yaml").Services, path: filepath.Dir(program) + ":" + os.Getenv("PATH"),
		names: strings.NewReplacer("postgres://postgres:demo@db/app", database.String(), "receiver:8480", receiver, "0.0.0.0:8480", receiver,
			"/keys/", keys+"/", "/demo.sql", script, "$$", "$"),
	}
	t.Cleanup(h.end)

	began := time.Now()
	h.do(ctx, "keys")
	h.do(ctx, "migrate")
	heard := h.start(ctx, "receiver")
	for range 3 {
		h.start(ctx, "sender", "SENDER_ADMIN_ADDR=127.0.0.1:0")
	}
	h.do(ctx, "application")
	count := func() int { return strings.Count(heard.String(), "signed with https://my.example/users/ann#main-key") }
	ok(t, fleet.Until(ctx, "a delivery", func() (bool, error) { return count() > 0, nil }))
	t.Logf("the first delivery came %s after the first service was started on a database that was there", time.Since(began).Round(time.Millisecond))
	ok(t, fleet.Until(ctx, "all deliveries", func() (bool, error) { return count() == followers, nil }))
}
