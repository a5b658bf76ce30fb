package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// initialise makes the data directory with its configuration.
func (s *Server) initialise(ctx context.Context) error {
	arguments := []string{
		"-D", s.home.data(), "-U", superuser, "--encoding=UTF8", "--locale=C",
		"--auth=" + s.authMethod(), "--no-sync", "--no-instructions",
	}
	if s.password != "" {
		file := s.home.path("password")
		if err := os.WriteFile(file, []byte(s.password+"\n"), 0o600); err != nil {
			return err
		}
		defer func() { _ = os.Remove(file) }() // removed with the directory at the latest
		if err := s.owner.own(file); err != nil {
			return err
		}
		arguments = append(arguments, "--pwfile="+file)
	}
	initdb := s.command(ctx, "initdb", arguments...)
	var output bytes.Buffer
	initdb.Stdout, initdb.Stderr = &output, &output
	running, err := startProcess(initdb)
	if err == nil {
		running.group.Wait()
		err = running.err
	}
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(output.String()))
	}
	if s.options.TLS {
		if err := s.makeCertificate(); err != nil {
			return err
		}
	}
	return s.configure()
}

func (s *Server) authMethod() string {
	if s.password == "" {
		return "trust"
	}
	return "scram-sha-256"
}

func (s *Server) configure() error {
	settings := map[string]string{
		"listen_addresses":        s.listenAddresses(),
		"unix_socket_directories": s.home.sockets(),
		"log_destination":         "stderr",
		"logging_collector":       "off",
		// In the data directory and not in /dev/shm, so that it goes with it even after SIGKILL.
		"dynamic_shared_memory_type": "mmap",
	}
	if !s.options.Durable {
		settings["fsync"] = "off"
		settings["synchronous_commit"] = "off"
		settings["full_page_writes"] = "off"
	}
	if s.options.TLS {
		settings["ssl"] = "on"
	}
	maps.Copy(settings, s.options.Settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = %s\n", name, quoteSetting(settings[name]))
	}
	return errors.Join(
		appendTo(filepath.Join(s.home.data(), "postgresql.conf"), text.String()),
		appendTo(filepath.Join(s.home.data(), "pg_hba.conf"), s.clients()))
}

func (s *Server) listenAddresses() string {
	addresses := []string{"127.0.0.1"}
	for _, prefix := range s.options.Addresses {
		addresses = append(addresses, prefix.Addr().String())
	}
	return strings.Join(addresses, ",")
}

// clients are the lines of pg_hba.conf for those who come from other addresses than this machine's own.
func (s *Server) clients() string {
	var text strings.Builder
	for _, prefix := range s.options.Addresses {
		fmt.Fprintf(&text, "host all all %s %s\n", prefix.Masked(), s.authMethod())
	}
	return text.String()
}

func appendTo(path, text string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0) // #nosec G304: of the data directory
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		_ = file.Close() // the write has failed already
		return err
	}
	return file.Close()
}

// command is a program of Postgres that runs as the server's owner, in a session of its own: Ctrl-C is for us, and we
// stop the server.
func (s *Server) command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	if !filepath.IsAbs(program) {
		program = s.program(program)
	}
	cmd := exec.CommandContext(ctx, program, arguments...) // #nosec G204: our own program
	cmd.Dir = s.home.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.home.dir, "LC_ALL=C", "TZ=" + os.Getenv("TZ")}
	cmd.SysProcAttr = attributes(s.owner)
	return cmd
}
