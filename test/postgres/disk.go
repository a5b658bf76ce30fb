package postgres

import (
	"errors"
	"fmt"
	"os"
)

// fillerName is the file that takes the space. Postgres leaves files alone that it does not know.
const fillerName = "fedsender.filler"

// mountDisk gives the server its own disk if that is wanted.
func (s *Server) mountDisk() error {
	if s.options.Disk == 0 {
		return nil
	}
	return mount(s.home.data(), s.options.Disk, s.owner)
}

// FillDisk takes all the space that is left on the server's disk, which must be one of its own (Options.Disk). What
// Postgres gives back later, such as old log, is free again until the next call. A server that can't extend a table
// reports error 53100; one that can't write its log ends all sessions with a panic, and if it can't recover for want of
// space it ends: make room with FreeDisk and call Restart, as an administrator does.
func (s *Server) FillDisk() error {
	if s.options.Disk == 0 {
		return errors.New("fill the disk of Postgres: the server has none of its own; start it with Options.Disk")
	}
	if err := takeSpace(s.filler()); err != nil {
		return fmt.Errorf("fill the disk of Postgres: %w", err)
	}
	return nil
}

// FreeDisk gives the space back that FillDisk took.
func (s *Server) FreeDisk() error {
	if err := os.Remove(s.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("free the disk of Postgres: %w", err)
	}
	return nil
}

func (s *Server) filler() string { return s.home.data() + string(os.PathSeparator) + fillerName }
