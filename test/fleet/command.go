package fleet

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// Command runs a verb of the sender's executable on a database and returns what it prints and its exit code. Nothing of the
// environment of the person who runs the test reaches it but PATH and HOME.
func Command(ctx context.Context, binary, database string, args ...string) (output string, code int, err error) {
	run := exec.CommandContext(ctx, binary, args...)
	run.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + database}
	text, err := run.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", 0, err
	}
	return string(text), run.ProcessState.ExitCode(), nil
}
