// Package migrations holds the SQL that makes schema fedsender: a folder of numbered migrations for each source, and the
// views for people, which are the same for all.
//
// A migration has a way forward and one back, on either side of the line "---- create above / drop below ----", and is
// never changed once it was released. One that alters what a view reads drops that view first; all views are made again
// afterwards. A view is changed in its file. A release that changes views has a new migration too, be it an empty one,
// so that an older program does not put its own back.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed native/*.sql views/*.sql
var files embed.FS

// Native is for applications that keep their outbox in schema fedsender itself.
var Native = folder("native")

// Views is run in the order of the file names.
var Views = folder("views")

func folder(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // only a malformed name can do that
	}
	return sub
}
