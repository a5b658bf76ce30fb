package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
)

// delivers has one sender deliver five activities of one actor to twenty instances, the receivers check each signature,
// and returns what the sender tells at /metrics and in its log. change, unless nil, is called before it starts.
func delivers(t *testing.T, change func(ctx context.Context, c *fleet.Cluster), environment ...string) (metrics, log string) {
	t.Helper()
	ctx := within(t)
	c := newCluster(t, fediverse.Config{})
	c.Env = environment
	world, err := fleet.Seed(ctx, c.DB, c.Fedi, fleet.Seeding{Actors: 1, Instances: 20})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(ctx, c)
	}
	senders, err := c.Start(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	expected := fediverse.Expected{}
	for n := range 5 {
		id := fmt.Sprintf("%s/activities/%d", fleet.ActorID(0), n)
		insert(t, c.DB, world.Actors[0], id)
		for _, domain := range world.Instances {
			expected.Add(fleet.SharedInbox(domain), id)
		}
	}
	if err := c.WaitSettled(ctx); err != nil {
		t.Fatal(err)
	}
	verdict := c.Fedi.Ledger().Verdict(expected, nil)
	if verdict.Lost != 0 || verdict.Twice != 0 || verdict.Unexpected != 0 || verdict.Violations != 0 || verdict.Delivered != 100 {
		t.Errorf("verdict: %+v", verdict)
	}
	response, err := senders[0].Get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), senders[0].Log()
}

func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

func signatures(by string, count int) string {
	return fmt.Sprintf("fedsender_signatures_total{by=%q} %d\n", by, count)
}

func TestLibcryptoSignsWhereThereIsOne(t *testing.T) {
	for _, way := range []string{"auto", "libcrypto"} {
		metrics, log := delivers(t, nil, "SENDER_SIGNER="+way)
		wantAll(t, metrics, signatures("libcrypto", 100), signatures("go", 0), "fedsender_signing_faults_total 0\n")
		wantAll(t, log, "made by libcrypto")
	}
}

func TestGoSignsWhereItIsToldTo(t *testing.T) {
	metrics, log := delivers(t, nil, "SENDER_SIGNER=go")
	wantAll(t, metrics, signatures("libcrypto", 0), signatures("go", 100))
	if strings.Contains(log, "libcrypto") {
		t.Errorf("the log speaks of libcrypto:\n%s", log)
	}
}

func TestLibcryptoThatMakesWrongSignaturesCostsNoDelivery(t *testing.T) {
	metrics, log := delivers(t, nil, "LD_LIBRARY_PATH="+compile(t, "libcrypto.so.3"))
	wantAll(t, metrics, signatures("go", 100), "fedsender_signing_faults_total 1\n")
	wantAll(t, log, "made by libcrypto", "Liar 3.0.0", "libcrypto is not used any more")
}

func TestLibcryptoThatLacksAFunctionIsNotUsed(t *testing.T) {
	_, old := delivers(t, nil, "LD_LIBRARY_PATH="+compile(t, "libcrypto.so.3", "-DOLD"))
	wantAll(t, old, "made by")
	if strings.Contains(old, "Liar") {
		t.Errorf("it was:\n%s", old)
	}
}

func TestStaticBuildNeedsNoLoaderAndSignsWithGo(t *testing.T) {
	binary, err := fleet.Binary(t.Context(), "static")
	if err != nil {
		t.Fatal(err)
	}
	program, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %s", part.Type)
		}
	}
	metrics, log := delivers(t, func(_ context.Context, c *fleet.Cluster) { c.Binary = binary })
	wantAll(t, metrics, signatures("libcrypto", 0), signatures("go", 100))
	wantAll(t, log, "made by crypto/rsa", "can't load libraries")
}

// compile makes the false libcrypto and returns the directory that it is in.
func compile(t *testing.T, name string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "gcc", append(flags, "-shared", "-fPIC", "-o", filepath.Join(dir, name), "testdata/liar.c")...)
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", err, said)
	}
	return dir
}

func TestActorWithAnEd25519KeySignsWithIt(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	metrics, log := delivers(t, func(ctx context.Context, c *fleet.Cluster) {
		if _, err := c.DB.Exec(ctx, `update fedsender.actor set private_key_pem = $1, key_id = ap_id || '#ed25519-key'`, text); err != nil {
			t.Fatal(err)
		}
		c.Fedi.RegisterEd25519(fleet.ActorID(0)+"#ed25519-key", public)
	})
	wantAll(t, metrics, signatures("go", 100), signatures("libcrypto", 0))
	if strings.Contains(log, string(der[16:])) || strings.Contains(log, text) {
		t.Error("the log shows the key")
	}
}
