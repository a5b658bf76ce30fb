// Package migrations holds the SQL that makes schema fedsender: a folder of numbered migrations for each source, and the
// views for people, which are the same for all.
//
// A migration has a way forward and one back, on either side of the line "---- create above / drop below ----", and is
// never changed once it was released. One that alters what a view reads drops that view first; all views are made again
// afterwards. A view is changed in its file. A release that changes views has a new migration too, be it an empty one,
// so that an older program does not put its own back.
//
// A [Source] is a folder beside common and views, or one elsewhere that an adapter's author keeps ([Open]).
package migrations

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed */*
var files embed.FS

// separator stands between the way forward and the way back.
const separator = "---- create above / drop below ----\n"

// Step is a file: what it makes, and how that is removed again.
type Step struct{ Name, Up, Down string }

// Sources are all there are, by their names.
func Sources() map[string]*Source {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // there is nothing to read that could fail
	}
	sources := map[string]*Source{}
	for _, entry := range entries {
		if name := entry.Name(); name != "common" && name != "views" {
			sources[name] = NewSource(name, folder(name))
		}
	}
	return sources
}

// IsFolder tells a folder from the name of a source that is part of the program: it has a slash.
func IsFolder(source string) bool { return strings.ContainsAny(source, `/`+string(filepath.Separator)) }

// FolderName is what a source is called whose folder this is.
func FolderName(folder string) string { return filepath.Base(filepath.Clean(folder)) }

// Open reads a source from a folder outside the program. It is called as the folder is.
func Open(folder string) (*Source, error) {
	source := NewSource(FolderName(folder), os.DirFS(folder))
	version, err := source.Version()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no folder %s", folder)
	case err != nil:
		return nil, fmt.Errorf("the folder %s can't be read: %w", folder, err)
	case version == 0:
		return nil, fmt.Errorf("the folder %s has no migration in it, such as 001_tables.sql", folder)
	}
	return source, nil
}

func folder(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // only a malformed name can do that
	}
	return sub
}
