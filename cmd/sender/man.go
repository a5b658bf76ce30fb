package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a man page for each verb into a directory, for packages",
		Hidden: true,
		Args:   arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verb(func(_ context.Context, args []string) error { return writeManPages(cmd.Root(), args[0]) })(cmd, args)
		},
	}
}

// writeManPages makes the directory, too.
func writeManPages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301: pages for everybody
		return fmt.Errorf("make %s: %w", dir, err)
	}
	root.DisableAutoGenTag = true // the same pages whenever they are made
	header := doc.GenManHeader{Section: "1", Source: "sender " + programVersion(), Manual: "sender", Date: builtAt()}
	if err := doc.GenManTree(root, &header, dir); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	return nil
}

// builtAt is when the commit was made that the program is of; nil, where nobody knows, is SOURCE_DATE_EPOCH or now to GenManTree.
func builtAt() *time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, setting := range info.Settings {
		if at, err := time.Parse(time.RFC3339, setting.Value); setting.Key == "vcs.time" && err == nil {
			return &at
		}
	}
	return nil
}
