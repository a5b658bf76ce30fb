package lemmy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	engine "github.com/fedsender/fedsender/sender"
	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/markdown"
)

// write sends an activity and waits until both servers have all that was sent, each once.
func (a *admin) write() {
	a.t.Helper()
	a.send()
	a.haveAll()
}

func (a *admin) haveAll() {
	a.t.Helper()
	var ids []string
	for n := range a.sent {
		ids = append(ids, lemmy.ActivityID(fmt.Sprint(n+1)))
	}
	a.arrived(remote, ids...)
	a.arrived(another, ids...)
}

// prepared is somebody who has done what the page says to do before the switch, and the switch.
func prepared(t *testing.T, line lemmy.Line) *admin {
	t.Helper()
	a := newAdmin(t, line)
	a.stop()
	a.do(markdown.Block{Text: "psql -d lemmy -f deploy/lemmy/role.sql\npsql -d lemmy -c '\\password fedsender'\n"})
	a.do(markdown.Block{Text: "export DATABASE_URL=postgres://fedsender:SECRET@localhost:5432/lemmy\nsender migrate\n"})
	a.do(markdown.Block{Text: "sender run\n"})
	a.write()
	return a
}

func TestPage_TheSwitchOverAndBackOnAHost(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		a := newAdmin(t, line)
		things := func() []string { return columns(t, connect(t, a.scene.url)) }
		before := things()
		a.write()
		a.follow("host", map[string]func(){
			"migrate": a.write, // Lemmy goes on
			"off":     func() { a.stop(); a.send() },
			"on":      func() { a.haveAll(); a.write() },
			"second":  func() { a.write(); a.interrupt(); a.send() },
			"back":    func() { a.sendByItself(); a.write() },
		})
		if after := things(); !slices.Equal(before, after) {
			t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		a.write()
	})
}

func TestPage_TheSwitchOverAndBackWithDockerCompose(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		a := newAdmin(t, line)
		a.cluster = &fleet.Cluster{Binary: sender(t), DB: a.DB, Fedi: a.fedi}
		t.Cleanup(a.halt)
		a.write()
		a.follow("docker", map[string]func(){
			"migrate": func() {
				text, err := os.ReadFile(filepath.Join(a.shell.Dir, "sender.env"))
				ok(t, err)
				variable, value, _ := strings.Cut(strings.TrimSpace(string(text)), "=")
				if variable != "DATABASE_URL" {
					t.Fatalf("sender.env sets %s", variable)
				}
				a.cluster.Database = strings.Replace(value, "@postgres/", "@"+a.at+"/", 1)
				a.write()
			},
			"off":  func() { a.stop(); a.send() },
			"on":   func() { a.start(2); a.haveAll(); a.write() },
			"stop": func() { a.halt(); a.send() },
			"back": func() { a.sendByItself(); a.write() },
		})
		a.write()
		if left, _ := filepath.Glob(filepath.Join(a.shell.Dir, "docker-compose.override.yml")); len(left) > 0 {
			t.Error("the override is left")
		}
	})
}

// override is what a test asks of the Compose file.
type override struct {
	Services map[string]struct {
		Image               string
		Entrypoint, Command []string
		Volumes             []string
		EnvFile             []string          `yaml:"env_file"`
		Environment         map[string]string `yaml:"environment"`
		StopGracePeriod     time.Duration     `yaml:"stop_grace_period"`
		DependsOn           []string          `yaml:"depends_on"`
	}
}

func TestCompose_TheOverrideFitsLemmysFileAndTheProgram(t *testing.T) {
	text, err := os.ReadFile("../../deploy/lemmy/compose.override.yaml")
	ok(t, err)
	var file override
	ok(t, yaml.Unmarshal(text, &file))
	if got := file.Services["lemmy"].Entrypoint; !slices.Equal(got, []string{"lemmy_server", "--disable-activity-sending"}) {
		t.Errorf("lemmy is started as %q", got)
	}
	service := file.Services["sender"]
	environment := service.Environment
	environment["DATABASE_URL"] = "postgres://fedsender:SECRET@postgres/lemmy"
	if unknown := engine.Unknown(environment); len(unknown) > 0 {
		t.Errorf("it sets %q, which sender does not know", unknown)
	}
	config, err := engine.ParseConfig(environment)
	ok(t, err)
	if service.StopGracePeriod <= config.ShutdownTimeout {
		t.Errorf("it is killed after %s, and may take %s to end", service.StopGracePeriod, config.ShutdownTimeout)
	}
	mounted, _, _ := strings.Cut(service.Volumes[0], ":")
	if mounted != "./sender" || !slices.Equal(service.EnvFile, []string{"sender.env"}) || !slices.Equal(service.Command, []string{"run"}) ||
		!slices.Equal(service.DependsOn, []string{"postgres"}) || len(file.Services) != 2 {
		t.Errorf("it is not what the page tells of: %+v", file)
	}
	if !strings.Contains(service.Image, "/base-debian") { // the program needs the loader of glibc
		t.Errorf("it runs in %s", service.Image)
	}
	if !strings.Contains(service.Volumes[0], ":"+service.Entrypoint[0]+":") {
		t.Errorf("it starts %q and mounts %q", service.Entrypoint, service.Volumes)
	}
}

func TestAnsible_ThePlaybookDoesWhatThePageDoes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/lemmy/ansible.yml")
	ok(t, err)
	var plays []map[string]any
	ok(t, yaml.Unmarshal(text, &plays))
	a := newAdmin(t, lemmy.V019)
	a.follow("ansible", nil)
	for _, copied := range []string{"sender", "role.sql", "compose.override.yaml"} {
		if !strings.Contains(string(text), "src: files/sender/"+copied) {
			t.Errorf("it does not copy %s", copied)
		}
		_, err := os.Stat(filepath.Join(a.shell.Dir, "files/sender", copied))
		ok(t, err)
	}
	calls, err := os.ReadFile(filepath.Join(a.shell.Dir, "calls"))
	ok(t, err)
	for _, tag := range []string{"before", "switch"} {
		if !strings.Contains(string(calls), "--tags "+tag) || !strings.Contains(string(text), "tags: [before, switch]") {
			t.Errorf("tag %s: %s", tag, calls)
		}
	}
	blocks, err := markdown.Blocks(page)
	ok(t, err)
	var docker string
	for _, b := range blocks {
		if strings.HasPrefix(b.Note, "run: docker") {
			docker += b.Text
		}
	}
	for line := range strings.Lines(string(text)) {
		_, command, found := strings.Cut(strings.TrimSpace(line), ": docker ")
		command = strings.TrimSuffix(command, " < role.sql")
		if found && !strings.Contains(docker, command) {
			t.Errorf("it runs docker %s, and the page does not", command)
		}
	}
}

func TestPage_HowToWatchIt(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		a := prepared(t, line)
		a.follow("watch", nil)
		a.interrupt()
	})
}

func TestPage_ABacklog(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		a := prepared(t, line)
		a.fedi.Instance(remote).SetAnswer(fediverse.Status(503))
		a.send()
		a.until("it fails", `select state = 'failing' from fedsender.instance_status where domain = $1`, remote)
		a.follow("backlog", map[string]func(){"replayed": func() {
			a.fedi.Instance(remote).SetAnswer(fediverse.OK)
		}})
		ledger := a.fedi.Ledger()
		ok(t, ledger.WaitFor(a.ctx, func() bool { return slices.Contains(a.accepted(remote), lemmy.ActivityID("2")) }))
		a.interrupt()
	})
}

func TestPage_AnUpgradeFrom019To10(t *testing.T) {
	t.Parallel()
	a := prepared(t, lemmy.V019)
	a.follow("upgrade", map[string]func(){"upgraded": func() {
		ok(t, lemmy.Upgrade(a.ctx, connect(t, a.scene.url)))
		a.Line = lemmy.V10
		a.send()
	}})
	a.haveAll()
	a.interrupt()
}

func TestPage_BothSendersAtOnce(t *testing.T) {
	onBothLines(t, func(t *testing.T, line lemmy.Line) {
		a := prepared(t, line)
		a.until("the cursors are written", `select bool_and(last_successful_id = 1) from federation_queue_state`)
		a.exec(`update federation_queue_state set last_successful_id = 0`)
		a.lax = true
		a.send()
		a.until("they are paused", `select bool_and(state = 'paused') from fedsender.instance_status`)
		a.follow("both", map[string]func(){"resumed": func() {
			a.until("all is sent", `select bool_and(last_successful_id = (select max(id) from sent_activity)) from federation_queue_state`)
		}})
		a.interrupt()
	})
}
