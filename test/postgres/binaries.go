package postgres

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// Binaries says where the programs of Postgres come from.
type Binaries string

const (
	// AutoBinaries takes local ones and downloads where there are none.
	AutoBinaries Binaries = "auto"
	// LocalBinaries takes those in PATH, or the newest of Debian's places.
	LocalBinaries Binaries = "local"
	// EmbeddedBinaries downloads those of zonky.io/embedded-postgres-binaries (a Maven artifact, some 15 MB) once and
	// keeps the archive in the user's cache directory.
	EmbeddedBinaries Binaries = "embedded"
)

// findBinaries returns a directory with initdb and postgres that the owner of the server may run.
func findBinaries(options Options, owner *owner, home *home) (string, error) {
	switch options.Binaries {
	case "", AutoBinaries:
		if dir := localBinaries(owner); dir != "" {
			return dir, nil
		}
		return embeddedBinaries(options.Repository, home)
	case LocalBinaries:
		if dir := localBinaries(owner); dir != "" {
			return dir, nil
		}
		return "", fmt.Errorf("no Postgres in PATH nor in /usr/lib/postgresql; install it (Debian: apt-get install postgresql)")
	case EmbeddedBinaries:
		return embeddedBinaries(options.Repository, home)
	}
	return "", fmt.Errorf("unknown source of Postgres binaries %q", options.Binaries)
}

func localBinaries(owner *owner) string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(dirs, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	if inPath, err := exec.LookPath("postgres"); err == nil {
		dirs = slices.Insert(dirs, 0, filepath.Dir(inPath))
	}
	for _, dir := range dirs {
		if owner.reaches(filepath.Join(dir, "postgres")) && owner.reaches(filepath.Join(dir, "initdb")) {
			return dir
		}
	}
	return ""
}

func majorVersion(dir string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return version
}

// embeddedBinaries uses the library for what it does well, to fetch, check and unpack. Starting is ours: the library
// can't do it as root.
func embeddedBinaries(repository string, home *home) (string, error) {
	unpacked := home.path("postgres")
	config := embeddedpostgres.DefaultConfig().
		BinariesPath(unpacked).
		RuntimePath(home.path("unpack")).
		// A data directory that can't be makes Start give up right after it has unpacked.
		DataPath(filepath.Join(os.DevNull, "data")).
		Port(0).
		Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	if cache, err := os.UserCacheDir(); err == nil {
		config = config.CachePath(filepath.Join(cache, "fedsender"))
	} else {
		config = config.CachePath(home.path("cache"))
	}
	err := withTemporaryFilesIn(home.dir, embeddedpostgres.NewDatabase(config).Start)
	http.DefaultClient.CloseIdleConnections() // those of the library
	dir := filepath.Join(unpacked, "bin")
	for _, program := range []string{"initdb", "postgres"} {
		if _, missing := os.Stat(filepath.Join(dir, program)); missing != nil {
			return "", fmt.Errorf("no Postgres on this machine and none could be downloaded: %w", err)
		}
	}
	return dir, nil
}

// unpacking is held while TMPDIR, which is the whole process's, is changed.
var unpacking sync.Mutex

// withTemporaryFilesIn keeps in dir what the library makes in the directory for temporary files and never removes: its
// log.
func withTemporaryFilesIn(dir string, start func() error) error {
	unpacking.Lock()
	defer unpacking.Unlock()
	before, set := os.LookupEnv("TMPDIR")
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return err
	}
	defer func() {
		if set {
			_ = os.Setenv("TMPDIR", before) // it was set to this before
		} else {
			_ = os.Unsetenv("TMPDIR") // never fails
		}
	}()
	return start()
}
