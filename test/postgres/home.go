package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const homePattern = "fedsender-postgres-"

// maxSocketDir leaves room for "/.s.PGSQL.65535" in the 107 bytes of a socket's path.
const maxSocketDir = 90

// home is the directory with all that a server has. It is locked while its owner lives, so that the directories of
// owners that were killed can be told apart and removed.
type home struct {
	dir  string
	lock *os.File
}

// newHome makes a home that the owner of the server can reach, and removes those that nobody owns any more.
func newHome(owner *owner) (_ *home, err error) {
	parent := os.TempDir()
	if !owner.reaches(parent) || len(parent)+len(homePattern)+len("4294967295/run") > maxSocketDir {
		parent = "/tmp"
	}
	removeAbandoned(parent)
	dir, err := os.MkdirTemp(parent, homePattern)
	if err != nil {
		return nil, fmt.Errorf("make a directory for Postgres: %w", err)
	}
	h := &home{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.remove())
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302: the unprivileged server must get through
		return nil, err
	}
	// Locked before it has its name: whoever finds a lock file can trust it.
	if h.lock, err = os.Create(h.path("lock.new")); err != nil {
		return nil, err
	}
	if err := lockFile(h.lock); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := os.Rename(h.path("lock.new"), h.path("lock")); err != nil {
		return nil, err
	}
	for _, sub := range []string{h.data(), h.sockets()} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			return nil, err
		}
		if err := owner.own(sub); err != nil {
			return nil, err
		}
	}
	return h, os.Chmod(h.sockets(), 0o755) // #nosec G302: clients of any user
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }
func (h *home) data() string            { return h.path("data") }
func (h *home) sockets() string         { return h.path("run") }

// remove removes the directory and the shared memory of a server that has ended.
func (h *home) remove() error {
	removeSharedMemory(h.data())
	err := unmount(h.data())
	err = errors.Join(err, os.RemoveAll(h.dir))
	if h.lock != nil {
		err = errors.Join(err, h.lock.Close())
	}
	return err
}

// removeAbandoned removes what owners that were killed have left. It is housekeeping for others: errors are theirs.
func removeAbandoned(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, homePattern+"*"))
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		abandoned := &home{dir: dir, lock: lock}
		if lockFile(lock) != nil || postmasterLives(abandoned.data()) {
			_ = lock.Close()
			continue
		}
		_ = abandoned.remove()
	}
}

// postmasterLives looks for the server whose owner has died: it may still be ending.
func postmasterLives(data string) bool {
	lines := pidFile(data)
	if len(lines) == 0 {
		return false
	}
	pid, err := strconv.Atoi(lines[0])
	return err == nil && pid > 0 && processLives(pid)
}

// pidFile is postmaster.pid: line 1 is the process id, line 7 the key and the id of its System V shared memory.
func pidFile(data string) []string {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// removeSharedMemory removes the small segment by which Postgres guards a data directory. A server that was killed
// leaves it to the next one in the same directory, and there will be none.
func removeSharedMemory(data string) {
	lines := pidFile(data)
	if len(lines) < 7 {
		return
	}
	var key int32
	var id int
	if _, err := fmt.Sscan(lines[6], &key, &id); err != nil {
		return
	}
	removeSegment(key, id)
}
