package lemmy_test

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/markdown"
	"github.com/fedsender/fedsender/test/postgres"
)

const (
	page    = "../../docs/lemmy.md"
	remote  = "remote.example" // what the page calls a remote server
	another = "another.example"
)

// admin follows the page on a server of Lemmy's, whose database has what the page says of it.
type admin struct {
	*scene
	shell   markdown.Shell
	fill    *strings.Replacer // the page's words by those of the test
	address string            // of the admin server
	at      string            // of the database
	running []*terminal       // what the page starts and does not wait for
	stop    func()            // Lemmy's own sender, while it runs
	last    string            // what the last command printed
}

// terminal is one in which sender run runs.
type terminal struct {
	*exec.Cmd
	printed bytes.Buffer
}

// newAdmin is somebody whose Lemmy sends by itself to two servers.
func newAdmin(t *testing.T, line lemmy.Line) *admin {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{Password: true})
	ok(t, err)
	t.Cleanup(func() { ok(t, server.Close()) })
	at, err := server.CreateDatabase(t.Context(), "lemmy")
	ok(t, err)
	conn, err := pgx.Connect(t.Context(), at)
	ok(t, err)
	ok(t, lemmy.Create(t.Context(), conn, line))
	ok(t, conn.Close(t.Context()))
	a := &admin{scene: newSceneOn(t, line, at)}
	a.remote(remote)
	a.remote(another)
	a.openShell()
	t.Cleanup(a.end)
	a.sendByItself()
	return a
}

// sendByItself starts Lemmy's own sender.
func (a *admin) sendByItself() {
	stop := a.own()
	a.stop = func() { a.stop = func() {}; stop() }
}

// end ends what still runs.
func (a *admin) end() {
	a.stop()
	for _, r := range a.running {
		_ = r.Process.Kill()
		_ = r.Wait()
	}
}

// openShell has the programs that the page names: sender, psql, and what stands for those that are not here.
func (a *admin) openShell() {
	a.t.Helper()
	dir := a.t.TempDir()
	bin := filepath.Join(dir, "bin")
	ok(a.t, os.CopyFS(bin, os.DirFS("testdata/programs")))
	for _, name := range []string{"sudo", "systemctl", "docker", "ansible-playbook"} {
		ok(a.t, os.Chmod(filepath.Join(bin, name), 0o755))
	}
	ok(a.t, os.Symlink(sender(a.t), filepath.Join(bin, "sender")))
	ok(a.t, os.CopyFS(filepath.Join(dir, "deploy/lemmy"), os.DirFS("../../deploy/lemmy")))
	ok(a.t, os.Symlink(".", filepath.Join(dir, "fedsender"))) // what the page calls the repository
	u, err := url.Parse(a.url)
	ok(a.t, err)
	password, _ := u.User.Password()
	a.address, a.at = freeAddress(a.t), u.Host
	a.fill = strings.NewReplacer("localhost:5432", u.Host, "127.0.0.1:9464", a.address,
		"https://lemmy.example/activities/announce/1", lemmy.ActivityID("1"))
	a.shell = markdown.Shell{Dir: dir, Dirs: a.t.TempDir(), Env: []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "CALLS=" + filepath.Join(dir, "calls"), "DATABASE_AT=" + a.at,
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=" + u.User.Username(), "PGPASSWORD=" + password, "PSQLRC=/dev/null",
		"SENDER_CONNECT_TO=" + a.fedi.Addr(), "SENDER_CA_FILE=" + a.fedi.CAFile(), "SENDER_ADMIN_ADDR=" + a.address,
	}}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// typed is what the person answers when psql asks for the new password.
const typed = "SECRET\nSECRET\n"

// note is what a block is for: a way through the page, and the name of a step of it, if a test has to do with it.
var note = regexp.MustCompile(`^(run|shows): (\w+)(?: ([\w-]+))?$`)

// follow runs all blocks of a way in their order. After a step with a name what the test has for it is done.
func (a *admin) follow(way string, steps map[string]func()) {
	a.t.Helper()
	blocks, err := markdown.Blocks(page)
	ok(a.t, err)
	done := 0
	for _, b := range blocks {
		parts := note.FindStringSubmatch(b.Note)
		if parts == nil || parts[2] != way {
			continue
		}
		if parts[1] == "shows" {
			a.shows(b)
			continue
		}
		done++
		a.do(b)
		if name := parts[3]; name != "" {
			if steps[name] == nil {
				a.t.Fatalf("%s:%d: nothing is known of step %s", page, b.Line, name)
			}
			steps[name]()
			delete(steps, name)
		}
	}
	if done == 0 || len(steps) > 0 {
		a.t.Fatalf("%d blocks of %s were run; %d steps are not on the page", done, way, len(steps))
	}
}

// do runs one block.
func (a *admin) do(b markdown.Block) {
	a.t.Helper()
	text := a.fill.Replace(b.Text)
	if b.Language == "sql" {
		text = "psql \"$DATABASE_URL\" -v ON_ERROR_STOP=1 <<'END'\n" + text + "END\n"
	}
	if starts.MatchString(text) {
		a.open(text)
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	var err error
	if a.last, err = a.shell.Run(ctx, text, typed); err != nil {
		a.t.Fatalf("%s:%d: %v", page, b.Line, err)
	}
	if testing.Verbose() {
		a.t.Logf("%s:%d:\n%s\n%s", page, b.Line, text, a.last)
	}
}

// starts tells a command that runs until it is told to stop.
var starts = regexp.MustCompile(`(?m)^(\w+=\S* )*sender run\b`)

// open runs it in a terminal of its own, and waits until it takes its part.
func (a *admin) open(text string) {
	a.t.Helper()
	r := &terminal{Cmd: a.shell.Command(context.WithoutCancel(a.ctx), "exec env "+strings.TrimSpace(text), "")}
	r.Stdout, r.Stderr = &r.printed, &r.printed
	ok(a.t, r.Start())
	a.running = append(a.running, r)
	a.until("every process has its part", `
		select count(distinct l.pid) = $1 and count(distinct l.instance_id) = 2 from fedsender.lease l`, len(a.running))
}

// interrupt is Ctrl-C in all terminals.
func (a *admin) interrupt() {
	a.t.Helper()
	for _, r := range a.running {
		ok(a.t, r.Process.Signal(syscall.SIGINT))
	}
	for _, r := range a.running {
		if err := r.Wait(); err != nil {
			a.t.Errorf("sender run: %v\n%s", err, r.printed.String())
		}
	}
	a.running = nil
}

// shows compares what the last command printed with what the page says that it prints: each of its lines must be there, in
// their order; … stands for anything.
func (a *admin) shows(b markdown.Block) {
	a.t.Helper()
	printed := strings.Split(a.last, "\n")
	for _, line := range strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n") {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(squeezed(line)), "…", ".*")
		at := slices.IndexFunc(printed, func(l string) bool { return regexp.MustCompile("^" + pattern + "$").MatchString(squeezed(l)) })
		if at < 0 {
			a.t.Fatalf("%s:%d: the last command does not print %q, but:\n%s", page, b.Line, line, a.last)
		}
		printed = printed[at+1:]
	}
}

// squeezed is a line without what a table's widths make of it.
func squeezed(line string) string { return strings.Join(strings.Fields(line), " ") }

func TestPage_EveryCommandIsRun(t *testing.T) {
	blocks, err := markdown.Blocks(page)
	ok(t, err)
	ways := []string{"host", "docker", "ansible", "watch", "backlog", "upgrade", "both"}
	for _, b := range blocks {
		switch parts := note.FindStringSubmatch(b.Note); {
		case parts != nil && slices.Contains(ways, parts[2]):
		case b.File() != "":
			text, err := os.ReadFile("../../" + b.File())
			ok(t, err)
			if string(text) != b.Text {
				t.Errorf("%s:%d is not what %s says", page, b.Line, b.File())
			}
		case b.Language == "sh", b.Language == "sql", b.Language == "yaml":
			t.Errorf("%s:%d: no test runs or compares this block", page, b.Line)
		}
	}
}
