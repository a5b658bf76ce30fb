package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// binaries are the executables of one test binary, by tag.
var binaries struct {
	mu    sync.Mutex
	dir   string // empty: Main does not run
	paths map[string]string
}

// Main runs tests that call [Binary], removes what that built, and returns the exit code. Where they use the shared Postgres:
//
//	func TestMain(m *testing.M) { os.Exit(fleet.Main(postgres.Tests{M: m})) }
func Main(m interface{ Run() int }) int {
	dir, err := os.MkdirTemp("", "fedsender-senders-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory for the senders:", err)
		return 1
	}
	expect(dir)
	code := m.Run()
	expect("")
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "remove the senders:", err)
		return max(code, 1)
	}
	return code
}

func expect(dir string) {
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	binaries.dir, binaries.paths = dir, map[string]string{}
}

// Binary returns the sender's executable, built once with the tag, or with none where that is empty. Others wait meanwhile.
func Binary(ctx context.Context, tag string) (string, error) {
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if binaries.dir == "" {
		return "", errors.New("there is no place for the sender's executable: call fleet.Main in TestMain")
	}
	if path, done := binaries.paths[tag]; done {
		return path, nil
	}
	dir, tags := filepath.Join(binaries.dir, "plain"), []string(nil)
	if tag != "" {
		dir, tags = filepath.Join(binaries.dir, tag), []string{tag}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path, err := Build(ctx, dir, tags...)
	if err == nil {
		binaries.paths[tag] = path
	}
	return path, err
}
