package markdown

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Shell runs blocks as a person types them, one after the other: where a block changes directory or exports a variable, the
// next one finds that so. It has no terminal.
type Shell struct {
	Dir  string   // where it begins
	Env  []string // its whole environment at the beginning
	Dirs string   // a directory of its own for what it remembers
}

// Command is the block as a command; input is what the person types when asked.
func (s *Shell) Command(ctx context.Context, text, input string) *exec.Cmd {
	state := filepath.Join(s.Dirs, "state")
	before := "cd '" + s.Dir + "'\n"
	if _, err := os.Stat(state); err == nil {
		before = ". '" + state + "'\n"
	}
	after := "\n{ export -p; printf 'cd %q\\n' \"$PWD\"; } > '" + state + "'\n"
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", before+text+after)
	command.Env = s.Env
	command.Stdin = strings.NewReader(input)
	command.SysProcAttr = ownSession()
	return command
}

// Run runs the block and returns what it printed. A command in it that fails is an error.
func (s *Shell) Run(ctx context.Context, text, input string) (output string, err error) {
	said, err := s.Command(ctx, text, input).CombinedOutput()
	if err != nil {
		return string(said), fmt.Errorf("%w:\n%s\n%s", err, text, said)
	}
	return string(said), nil
}
