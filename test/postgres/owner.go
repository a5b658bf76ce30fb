package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// credential is a user by number.
type credential struct{ uid, gid uint32 }

// owner is the user whom the server runs as. The zero value is the user who runs this process.
type owner struct {
	credential *credential
}

// serverOwner is nobody when this process is root's: Postgres refuses to run as root, and initdb wants a user with a
// name.
func serverOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return &owner{}, nil
	}
	for _, name := range []string{"nobody", "postgres", "daemon"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(found.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(found.Gid, 10, 32)
		if errUID == nil && errGID == nil && uid != 0 {
			return &owner{credential: &credential{uid: uint32(uid), gid: uint32(gid)}}, nil
		}
	}
	return nil, errors.New("postgres does not run as root and there is no user nobody to run it as; start this as another user")
}

// own gives the file to the owner.
func (o *owner) own(path string) error {
	if o.credential == nil {
		return nil
	}
	if err := os.Chown(path, int(o.credential.uid), int(o.credential.gid)); err != nil {
		return fmt.Errorf("give %s to the user of Postgres: %w", path, err)
	}
	return nil
}

// reaches says whether the owner gets through every directory down to path, by the rights of all.
func (o *owner) reaches(path string) bool {
	if o.credential == nil {
		return true
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for ; ; path = filepath.Dir(path) {
		found, err := os.Stat(path)
		if err != nil || found.Mode().Perm()&0o001 == 0 {
			return false
		}
		if path == filepath.Dir(path) {
			return true
		}
	}
}
