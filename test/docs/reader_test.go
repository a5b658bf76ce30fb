package docs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/markdown"
	"github.com/fedsender/fedsender/test/postgres"
	"github.com/fedsender/fedsender/test/transcript"
)

// reader does what a page says, in a folder and on a database of its own.
type reader struct {
	t         *testing.T
	ctx       context.Context
	dir       string
	shell     markdown.Shell
	fill      *strings.Replacer // the page's words by those of the test
	terminals map[string]*terminal
	last      string // what the last command printed
	again     string // the last command, if it only looks
	leave     string // the name of a step that this reader does not take
}

// terminal is one in which a command goes on.
type terminal struct {
	*exec.Cmd
	printed transcript.Transcript
}

// newReader has the programs that pages name in the PATH, and libpq's variables lead to the server of the tests. fill are
// pairs of what a page says and what that is here.
func newReader(t *testing.T, environment []string, fill ...string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	binary, err := fleet.Binary(context.WithoutCancel(ctx), "")
	ok(t, err)
	u, err := url.Parse(postgres.Shared(t).URL("postgres"))
	ok(t, err)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	ok(t, os.CopyFS(bin, os.DirFS("testdata/programs")))
	for _, name := range []string{"sudo", "systemctl"} {
		ok(t, os.Chmod(filepath.Join(bin, name), 0o755))
	}
	ok(t, os.Symlink(binary, filepath.Join(bin, "sender")))
	ok(t, os.Mkdir(filepath.Join(dir, "units"), 0o755))
	r := &reader{t: t, ctx: ctx, dir: dir, fill: strings.NewReplacer(fill...), terminals: map[string]*terminal{}}
	r.shell = markdown.Shell{Dir: dir, Dirs: t.TempDir(), Env: append([]string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "UNITS=" + filepath.Join(dir, "units"), "URL_FILE=" + filepath.Join(dir, urlFile),
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(), "PSQLRC=/dev/null", "PAGER=", "LC_ALL=C.UTF-8",
		"SENDER_ADMIN_ADDR=", "SENDER_LOG_FORMAT=text",
	}, environment...)}
	t.Cleanup(r.end)
	return r
}

// fillIn is for what is known only when there is a database.
func (r *reader) fillIn(fill ...string) { r.fill = strings.NewReplacer(fill...) }

// urlFile is where the units find DATABASE_URL: what pages call /etc/fedsender/database-url.
const urlFile = "database-url"

// end ends what still runs.
func (r *reader) end() {
	for name := range r.terminals {
		r.interrupt(name)
	}
	units, _ := filepath.Glob(filepath.Join(r.dir, "units", "*.pid"))
	for _, unit := range units {
		name := strings.TrimSuffix(filepath.Base(unit), ".pid")
		if _, err := r.shell.Run(context.WithoutCancel(r.ctx), "systemctl stop "+name, ""); err != nil {
			r.t.Error(err)
		}
		if r.t.Failed() {
			log, _ := os.ReadFile(strings.TrimSuffix(unit, ".pid") + ".log")
			r.t.Logf("%s:\n%s", name, log)
		}
	}
}

// note is what is done with a block, or before it.
var note = regexp.MustCompile(`^(run|fails|look|terminal|shows|syntax|ctrl-c)(?:: (.+))?$`)

// notes are all that is done about a block, in order; none: nothing.
func notes(b markdown.Block) (all [][2]string) {
	for _, part := range strings.Split(b.Note, "; ") {
		found := note.FindStringSubmatch(part)
		if found == nil {
			return nil
		}
		all = append(all, [2]string{found[1], found[2]})
	}
	return all
}

// follow does all blocks of the page in order. After a block that is run by a name what the test has for it is done.
func (r *reader) follow(page string, steps map[string]func()) {
	r.t.Helper()
	blocks, err := markdown.Blocks(root + page)
	ok(r.t, err)
	for _, b := range blocks {
		for _, n := range notes(b) {
			at := fmt.Sprintf("%s:%d", page, b.Line)
			if n[1] != "" && n[1] == r.leave {
				continue
			}
			r.do(at, n[0], n[1], b)
			if n[0] != "run" || n[1] == "" {
				continue
			}
			if steps[n[1]] == nil {
				r.t.Fatalf("%s: no test knows step %s", at, n[1])
			}
			steps[n[1]]()
			delete(steps, n[1])
		}
	}
	for name := range steps {
		r.t.Errorf("%s has no step %s", page, name)
	}
}

func (r *reader) do(at, what, name string, b markdown.Block) {
	r.t.Helper()
	r.t.Logf("%s: %s %s", at, what, name)
	text := r.typed(b)
	switch what {
	case "run":
		r.again = ""
		r.run(at, text, 0)
	case "fails":
		r.again = ""
		code, err := strconv.Atoi(name)
		ok(r.t, err)
		r.run(at, text, code)
	case "look":
		r.again = text
	case "terminal":
		r.open(name, text)
	case "ctrl-c":
		r.interrupt(name)
	case "shows":
		r.shows(at, name, b.Text)
	}
}

// typed is the block as it is typed here.
func (r *reader) typed(b markdown.Block) string {
	text := strings.ReplaceAll(r.fill.Replace(b.Text), "/etc/fedsender/"+urlFile, filepath.Join(r.dir, urlFile))
	if b.Language == "sql" {
		return "psql ${DATABASE_URL:+\"$DATABASE_URL\"} -v ON_ERROR_STOP=1 -v pem=\"${PEM:-}\" <<'END'\n" + text + "END\n"
	}
	return text
}

// run runs a command that ends with this exit code.
func (r *reader) run(at, text string, code int) {
	r.t.Helper()
	if got, err := r.try(text); err != nil || got != code {
		r.t.Fatalf("%s: exit code %d, want %d: %v\n%s\n%s", at, got, code, err, text, r.last)
	}
}

// try runs a command and returns its exit code.
func (r *reader) try(text string) (code int, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	r.last, err = r.shell.Run(ctx, text, "")
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// open runs it in a terminal of its own.
func (r *reader) open(name, text string) {
	r.t.Helper()
	words := strings.TrimSpace(text)
	opened := &terminal{Cmd: r.shell.Command(context.WithoutCancel(r.ctx), "exec env "+words, "")}
	opened.Stdout, opened.Stderr = &opened.printed, &opened.printed
	ok(r.t, opened.Start())
	r.terminals[name] = opened
}

// interrupt is Ctrl-C in a terminal.
func (r *reader) interrupt(name string) {
	r.t.Helper()
	stopped := r.terminals[name]
	delete(r.terminals, name)
	_ = syscall.Kill(-stopped.Process.Pid, syscall.SIGINT)
	if err := stopped.Wait(); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
	if r.t.Failed() {
		r.t.Logf("%s:\n%s", name, stopped.printed.String())
	}
}

// shows compares what was printed with what the page says.
func (r *reader) shows(at, name, text string) {
	r.t.Helper()
	printed := func() string { return r.last }
	if name != "" {
		if r.terminals[name] == nil {
			r.t.Fatalf("%s: there is no terminal %s", at, name)
		}
		printed = r.terminals[name].printed.String
	}
	want, missing := r.fill.Replace(text), ""
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	err := fleet.Until(ctx, "what the page shows", func() (bool, error) {
		if name == "" && r.again != "" {
			if code, err := r.try(r.again); err != nil || code != 0 {
				missing = fmt.Sprintf("exit code %d", code)
				return false, err
			}
		}
		missing = missed(printed(), want)
		if missing != "" && name == "" && r.again == "" {
			return false, errors.New("the command has ended")
		}
		return missing == "", nil
	})
	if err != nil {
		r.t.Fatalf("%s: %q is not printed (%v), but:\n%s", at, missing, err, printed())
	}
}

// missed is the first of the wanted lines that was not printed after the one before; … stands for anything.
func missed(printed, wanted string) string {
	lines := strings.Split(printed, "\n")
	for _, line := range strings.Split(strings.TrimSuffix(wanted, "\n"), "\n") {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(squeezed(line)), "…", ".*") + "$")
		at := slices.IndexFunc(lines, func(l string) bool { return pattern.MatchString(squeezed(l)) })
		if at < 0 {
			return line
		}
		lines = lines[at+1:]
	}
	return ""
}

// squeezed is a line without what a table's widths make of it.
func squeezed(line string) string { return strings.Join(strings.Fields(line), " ") }

// bash says whether a block can be read.
func bash(t *testing.T, at, text string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-n")
	command.Stdin = strings.NewReader(text)
	if said, err := command.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", at, err, said)
	}
}
