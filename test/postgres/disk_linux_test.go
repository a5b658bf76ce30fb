package postgres_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fedsender/fedsender/test/postgres"
)

// diskFull is SQLSTATE disk_full.
const diskFull = "53100"

func TestServer_DiskBecomesFullAndFreeAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := postgres.Start(t.Context(), postgres.Options{Disk: 192 << 20})
		if err == nil || !strings.Contains(err.Error(), "run this as root") {
			t.Errorf("a disk that only root may mount: %v", err)
		}
		return
	}
	server := start(t, postgres.Options{Disk: 192 << 20})
	must(t, run(t, server.URL("postgres"), "create table page (text text)"))
	must(t, server.FillDisk())
	err := run(t, server.URL("postgres"), "insert into page select repeat(md5(n::text), 30) from generate_series(1, 100000) n")
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != diskFull {
		t.Errorf("an insert on a full disk: %v", err)
	}
	must(t, server.FreeDisk())
	must(t, server.Restart(within(t, time.Minute)))
	must(t, run(t, server.URL("postgres"), "insert into page select 'short' from generate_series(1, 1000) n"))
	data := server.DataDir()
	must(t, server.Close())
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), data) {
		t.Error("the disk is still mounted")
	}
}

func TestFillDisk_IsRefusedWithoutADiskOfItsOwn(t *testing.T) {
	if err := start(t, postgres.Options{}).FillDisk(); err == nil {
		t.Error("the disk of the machine was filled")
	}
}
