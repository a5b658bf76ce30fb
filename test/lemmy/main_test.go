package lemmy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fedsender/fedsender/test/fediverse"
	"github.com/fedsender/fedsender/test/fleet"
	"github.com/fedsender/fedsender/test/lemmy"
	"github.com/fedsender/fedsender/test/postgres"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fedsender-lemmy-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaryDir = dir
	code := postgres.Main(m)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var (
	binaryDir string
	build     sync.Once
	binary    string
	buildErr  error
)

// patience is how long a test waits for what should take a second; only a broken one waits so long.
const patience = 60 * time.Second

// onBothLines runs a test on the tables of each line.
func onBothLines(t *testing.T, test func(t *testing.T, line lemmy.Line)) {
	for _, line := range lemmy.Lines {
		t.Run(string(line), func(t *testing.T) { test(t, line) })
	}
}

// ok ends the test with the error, if there is one.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scene is a database of Lemmy's with a person and a community, and the fediverse around it.
type scene struct {
	*lemmy.World
	t         *testing.T
	ctx       context.Context
	url       string
	fedi      *fediverse.Fediverse
	receiver  *lemmy.Receiver
	person    lemmy.Actor
	community lemmy.Actor
	cluster   *fleet.Cluster
	sent      int
}

func newScene(t *testing.T, line lemmy.Line) *scene {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	s := &scene{t: t, ctx: ctx, url: database(t, line), receiver: &lemmy.Receiver{}}
	db, err := pgxpool.New(ctx, s.url)
	ok(t, err)
	t.Cleanup(db.Close)
	s.World, err = lemmy.NewWorld(ctx, db, line)
	ok(t, err)
	s.person, err = s.Person(ctx, "ada", lemmy.PKCS1)
	ok(t, err)
	s.community, err = s.Community(ctx, "main", lemmy.PKCS8)
	ok(t, err)
	s.fedi, err = fediverse.Start(fediverse.Config{Default: s.receiver.Behaviour(fediverse.Always(fediverse.OK))})
	ok(t, err)
	t.Cleanup(func() { ok(t, s.fedi.Close()) })
	t.Cleanup(s.sound)
	s.Introduce(s.fedi)
	return s
}

// sound reports what receivers objected to.
func (s *scene) sound() {
	for _, complaint := range s.receiver.Complaints() {
		s.t.Error(complaint)
	}
	violations, _ := s.fedi.Ledger().Violations()
	for _, violation := range violations {
		s.t.Error(violation)
	}
}

// remote makes an instance with a site, and a follower of the community there.
func (s *scene) remote(domain string) (instance int32) {
	s.t.Helper()
	instance, err := s.Instance(s.ctx, domain)
	ok(s.t, err)
	fan, err := s.Fan(s.ctx, instance, domain, "fan")
	ok(s.t, err)
	ok(s.t, s.Follow(s.ctx, fan, s.community.ID, false))
	return instance
}

// send inserts an activity by the community, for its followers if nothing else is said, and returns its ActivityPub id.
func (s *scene) send(change ...func(*lemmy.Activity)) string {
	s.t.Helper()
	s.sent++
	a := lemmy.Activity{Name: fmt.Sprint(s.sent), Actor: s.community, FollowersOf: s.community}
	for _, c := range change {
		c(&a)
	}
	ok(s.t, s.receiver.Expect(lemmy.ActivityRow{APID: lemmy.ActivityID(a.Name), Data: a.Document()}))
	_, err := s.Send(s.ctx, a)
	ok(s.t, err)
	return lemmy.ActivityID(a.Name)
}

// client reaches the simulated instances by their names.
func (s *scene) client() *http.Client {
	s.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(s.fedi.CAPEM())) {
		s.t.Fatal("the fediverse has no certificate")
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.fedi.Addr())
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// accepted are the activities that an instance has taken, in the order of arrival.
func (s *scene) accepted(domain string) (found []string) {
	for _, d := range s.fedi.Ledger().Deliveries(domain) {
		if d.Accepted() {
			found = append(found, d.Activity)
		}
	}
	return found
}

// arrived waits until an instance has accepted exactly these activities, whatever the order.
func (s *scene) arrived(domain string, ids ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	want := slices.Sorted(slices.Values(ids))
	var got []string
	err := s.fedi.Ledger().WaitFor(ctx, func() bool {
		got = s.accepted(domain)
		slices.Sort(got)
		return slices.Equal(got, want)
	})
	if err != nil {
		s.t.Fatalf("%s has %q, want %q", domain, got, want)
	}
}
