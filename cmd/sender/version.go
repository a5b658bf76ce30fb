package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is linked in by the Makefile.
var version string

// programVersion is what was linked in, else that of the module, as go install builds it.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

// versionReport is what `sender version --json` prints.
type versionReport struct {
	Version string `json:"version"`               // of the release, or of the module
	Commit  string `json:"commit,omitempty"`      // the hash that was built
	Built   string `json:"commit_time,omitempty"` // when that commit was made, RFC 3339
	Go      string `json:"go"`                    // version of Go
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(0, 0),
		RunE: verb(func(context.Context, []string) error {
			v := versionReport{Version: programVersion(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, setting := range info.Settings {
					switch setting.Key {
					case "vcs.revision":
						v.Commit = setting.Value
					case "vcs.time":
						v.Built = setting.Value
					}
				}
			}
			if asJSON {
				return printJSON(a.out, v)
			}
			_, err := fmt.Fprintf(a.out, "sender %s (%s, %s/%s)\n", v.Version, v.Go, v.OS, v.Arch)
			return err
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
