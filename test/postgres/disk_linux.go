package postgres

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount puts a tmpfs of so many bytes on the directory.
func mount(dir string, size int64, owner *owner) error {
	uid, gid := os.Geteuid(), os.Getegid()
	if owner.credential != nil {
		uid, gid = int(owner.credential.uid), int(owner.credential.gid)
	}
	err := unix.Mount("fedsender", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", size, uid, gid))
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount a disk for Postgres: only root may; run this as root: %w", err)
	}
	if err != nil {
		return fmt.Errorf("mount a disk of %d bytes for Postgres: %w", size, err)
	}
	return nil
}

// unmount takes away what mount has put there, if it has.
func unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", dir, err)
}

// takeSpace makes the file at path as large as the disk lets it become.
func takeSpace(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600) // #nosec G304: of the data directory
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written that could be lost
	found, err := file.Stat()
	if err != nil {
		return err
	}
	// What is left is halved down to a page, because fallocate takes all that it is asked for or nothing.
	const page = 4096
	for end, step := found.Size(), int64(1<<30); step >= page; {
		err := unix.Fallocate(int(file.Fd()), 0, end, step)
		switch {
		case err == nil:
			end += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
	return nil
}
