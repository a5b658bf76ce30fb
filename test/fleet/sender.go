package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// adminTimeout is far above what the admin server needs, and ends the wait for one that is frozen.
const adminTimeout = 5 * time.Second

// Options says how a sender is started.
type Options struct {
	Binary    string // the sender's executable
	Name      string
	Database  string // DATABASE_URL
	ConnectTo string // the fediverse
	CAFile    string
	Env       []string // more of the environment, NAME=VALUE
	Log       io.Writer
	On        Machine // nil: this one
}

// Machine is where a sender runs, such as a network.Host. What it starts must die with this process.
type Machine interface {
	Start(*exec.Cmd) error
	// DialContext connects from the machine, to its own loopback addresses too.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Sender is a running process. Its methods are safe for several goroutines.
type Sender struct {
	Name string

	command *exec.Cmd
	client  *http.Client // of its admin server
	ended   chan struct{}
	failed  error // of Wait; set before ended is closed

	mu      sync.Mutex
	log     bytes.Buffer
	address chan string // of the admin server, once
	admin   string
}

// Start starts `sender run`. It does not wait until that is ready.
func Start(o Options) (*Sender, error) {
	s := &Sender{Name: o.Name, ended: make(chan struct{}), address: make(chan string, 1)}
	s.command = exec.Command(o.Binary, "run")
	s.command.Env = append(s.environment(o), o.Env...)
	s.command.SysProcAttr = ownGroup()
	dieWithParent(s.command.SysProcAttr)
	output, err := s.command.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	start, transport := s.command.Start, &http.Transport{DisableKeepAlives: true}
	if o.On != nil {
		start = func() error { return o.On.Start(s.command) }
		transport.DialContext = o.On.DialContext
	}
	s.client = &http.Client{Transport: transport, Timeout: adminTimeout}
	started := make(chan error, 1)
	go func() {
		defer close(s.ended)
		// The kernel sends the death signal when the thread ends that started the process, and Go may end any other.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := start()
		if started <- err; err != nil {
			return
		}
		s.read(output, o.Log)
		s.failed = s.command.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	return s, nil
}

// environment leaves out what the person who runs the test has set for a sender of their own.
func (s *Sender) environment(o Options) []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "SENDER_") && !strings.HasPrefix(entry, "DATABASE_URL") && !strings.HasPrefix(entry, "PG") {
			env = append(env, entry)
		}
	}
	return append(env,
		"DATABASE_URL="+o.Database, "SENDER_NAME="+o.Name, "SENDER_CONNECT_TO="+o.ConnectTo, "SENDER_CA_FILE="+o.CAFile,
		"SENDER_ADMIN_ADDR=127.0.0.1:0", "SENDER_LOG_FORMAT=json", "SENDER_USER_AGENT=fedsender-test (+https://home.example/)")
}

// read keeps the log and looks in it for the address of the admin server.
func (s *Sender) read(output io.Reader, copyTo io.Writer) {
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadBytes('\n')
		s.mu.Lock()
		s.log.Write(line)
		s.mu.Unlock()
		if copyTo != nil && len(line) > 0 {
			fmt.Fprintf(copyTo, "%s %s", s.Name, line)
		}
		var entry struct{ Address string }
		if bytes.Contains(line, []byte(`"address"`)) && json.Unmarshal(line, &entry) == nil && entry.Address != "" {
			select {
			case s.address <- entry.Address:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// Log returns what the process has logged.
func (s *Sender) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// PID is the id of the process.
func (s *Sender) PID() int { return s.command.Process.Pid }

// Admin returns the address of the admin server, as soon as the process has told it.
func (s *Sender) Admin(ctx context.Context) (string, error) {
	s.mu.Lock()
	admin := s.admin
	s.mu.Unlock()
	if admin != "" {
		return admin, nil
	}
	select {
	case admin = <-s.address:
		s.mu.Lock()
		s.admin = admin
		s.mu.Unlock()
		return admin, nil
	case <-s.ended:
		return "", fmt.Errorf("%s has ended: %w\n%s", s.Name, s.failed, s.Log())
	case <-ctx.Done():
		return "", fmt.Errorf("%s tells no address: %w\n%s", s.Name, ctx.Err(), s.Log())
	}
}

// Get asks the admin server, on whatever machine that is. Admin must have returned before.
func (s *Sender) Get(path string) (*http.Response, error) {
	s.mu.Lock()
	admin := s.admin
	s.mu.Unlock()
	return s.client.Get("http://" + admin + path)
}

// WaitReady blocks until /readyz says yes.
func (s *Sender) WaitReady(ctx context.Context) error {
	if _, err := s.Admin(ctx); err != nil {
		return err
	}
	return Until(ctx, s.Name+" is ready", func() (bool, error) {
		response, err := s.Get("/readyz")
		select {
		case <-s.ended:
			return false, fmt.Errorf("%s has ended: %w\n%s", s.Name, s.failed, s.Log())
		default:
		}
		if err != nil {
			return false, nil
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
}

// Until asks again every 10 ms until done, an error or the end of ctx.
func Until(ctx context.Context, what string, done func() (bool, error)) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting until %s: %w", what, ctx.Err())
		case <-ticker.C:
		}
	}
}

// Signal sends a signal, such as SIGSTOP.
func (s *Sender) Signal(sig syscall.Signal) error {
	if err := s.command.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", s.Name, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits for it.
func (s *Sender) Kill() {
	_ = s.command.Process.Kill() // it may have ended
	<-s.ended
}

// Stop asks the process to end (SIGTERM) and waits for it. The error is that of its exit code, or that it did not end
// before ctx: then it was killed.
func (s *Sender) Stop(ctx context.Context) error {
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.ended:
	case <-ctx.Done():
		s.Kill()
		return fmt.Errorf("%s did not end in time: %w\n%s", s.Name, ctx.Err(), s.Log())
	}
	if s.failed != nil {
		return fmt.Errorf("%s: %w\n%s", s.Name, s.failed, s.Log())
	}
	return nil
}

// Ended is closed when the process has ended.
func (s *Sender) Ended() <-chan struct{} { return s.ended }

// CPU is the processor time that the process has used. It works on a running and on an ended process.
func (s *Sender) CPU() (time.Duration, error) {
	if state := s.command.ProcessState; state != nil {
		return state.UserTime() + state.SystemTime(), nil
	}
	return ProcessCPU(s.PID())
}

// Build makes the sender's executable in dir from the module that the test is in.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	binary := dir + "/sender"
	args := []string{"build", "-o", binary}
	if len(tags) > 0 {
		args = append(args, "-tags", strings.Join(tags, ","))
	}
	build := exec.CommandContext(ctx, "go", append(args, "github.com/fedsender/fedsender/cmd/sender")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build the sender: %w", err), errors.New(string(output)))
	}
	return binary, nil
}
