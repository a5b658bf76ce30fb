package deliver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sourcegraph/conc"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/test/bubble"
)

// names is a name server that knows toad.example and counts the questions.
type names struct {
	mu    sync.Mutex
	asked map[string]int
}

func (n *names) questions() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.asked {
		count += c
	}
	return count
}

func (n *names) dial(context.Context, string, string) (net.Conn, error) {
	return &nameConn{names: n}, nil
}

// nameConn answers the question that was written to it. It looks like TCP: each message follows its length.
type nameConn struct {
	net.Conn // nil: the resolver uses what is below
	names    *names
	answer   bytes.Buffer
}

func (c *nameConn) Write(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, errors.New("no question")
	}
	packed, err := c.names.answer(p[2:], false)
	if err != nil {
		return 0, err
	}
	c.answer.Write(binary.BigEndian.AppendUint16(nil, uint16(len(packed))))
	c.answer.Write(packed)
	return len(p), nil
}

// answer to a question. By UDP that about newt.example is too long.
func (n *names) answer(p []byte, udp bool) ([]byte, error) {
	var question dnsmessage.Message
	if err := question.Unpack(p); err != nil {
		return nil, err
	}
	asked := question.Questions[0]
	n.mu.Lock()
	n.asked[asked.Name.String()]++
	n.mu.Unlock()
	soa := dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("example."), Type: dnsmessage.TypeSOA, Class: asked.Class, TTL: 60},
		Body:   &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns.example."), MBox: dnsmessage.MustNewName("a.example."), MinTTL: 60},
	}
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: question.Questions,
	}
	switch {
	case asked.Name.String() == "newt.example." && udp:
		answer.Truncated = true
	case asked.Name.String() != "toad.example." && asked.Name.String() != "newt.example.":
		answer.RCode, answer.Authorities = dnsmessage.RCodeNameError, []dnsmessage.Resource{soa}
	case asked.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
		}}
	default:
		answer.Authorities = []dnsmessage.Resource{soa}
	}
	return answer.Pack()
}

func (c *nameConn) Read(p []byte) (int, error) {
	if c.answer.Len() == 0 {
		return 0, io.EOF
	}
	return c.answer.Read(p)
}

func (c *nameConn) SetDeadline(time.Time) error { return nil }
func (c *nameConn) Close() error                { return nil }

func TestResolver_KeepsAnswersForTheirTime(t *testing.T) {
	// What net knows of this machine's configuration it must not learn inside.
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "localhost"); err != nil {
		t.Fatal(err)
	}
	bubble.Test(t, func(t *testing.T) {
		n := &names{asked: map[string]int{}}
		resolver := deliver.NewResolver(n.dial)
		find := func(questions int) {
			t.Helper()
			before := n.questions()
			found, err := resolver.LookupNetIP(t.Context(), "ip", "toad.example.")
			if err != nil || len(found) != 1 || found[0].Unmap() != netip.MustParseAddr("192.0.2.7") {
				t.Errorf("found %v, %v", found, err)
			}
			synctest.Wait()
			if got := n.questions() - before; got != questions {
				t.Errorf("%d questions, want %d", got, questions)
			}
		}
		find(2) // A and AAAA
		find(0)
		time.Sleep(59 * time.Second)
		find(0)
		time.Sleep(2 * time.Second)
		find(2)
	})
}

func TestResolver_AsksEachTimeForANameThatDoesNotExist(t *testing.T) {
	n := &names{asked: map[string]int{}}
	resolver := deliver.NewResolver(n.dial)
	for want := 2; want <= 4; want += 2 {
		_, err := resolver.LookupNetIP(t.Context(), "ip", "frog.example.")
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("got %v", err)
		}
		if got := n.questions(); got != want {
			t.Errorf("%d questions, want %d", got, want)
		}
	}
}

func TestResolver_AsksNobodyForNamesOfThisMachine(t *testing.T) {
	n := &names{asked: map[string]int{}}
	found, err := deliver.NewResolver(n.dial).LookupNetIP(t.Context(), "ip", "localhost")
	if err != nil || len(found) == 0 || !found[0].IsLoopback() || n.questions() != 0 {
		t.Errorf("found %v, %v with %d questions", found, err, n.questions())
	}
}

// serve answers by UDP and TCP and returns where.
func (n *names) serve(t *testing.T) (udp, tcp string) {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(errors.Join(err, packets.Close()))
	}
	var serving conc.WaitGroup
	t.Cleanup(func() { _ = packets.Close(); _ = listener.Close(); serving.Wait() })
	serving.Go(func() {
		buffer := make([]byte, 4096)
		for {
			length, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := n.answer(buffer[:length], true); err == nil {
				_, _ = packets.WriteTo(answer, from) // the resolver asks again
			}
		}
	})
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.serveTCP(conn)
		}
	})
	return packets.LocalAddr().String(), listener.Addr().String()
}

// serveTCP answers one question.
func (n *names) serveTCP(conn net.Conn) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	question := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, question); err != nil {
		return
	}
	if answer, err := n.answer(question, false); err == nil {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

func TestResolver_AsksByUDPAndWhereTheAnswerIsTooLongByTCPWhichIsNotKept(t *testing.T) {
	n := &names{asked: map[string]int{}}
	udp, tcp := n.serve(t)
	resolver := deliver.NewResolver(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, map[string]string{"udp": udp, "tcp": tcp}[network])
	})
	for name, questions := range map[string][2]int{"toad.example.": {2, 0}, "newt.example.": {4, 4}} {
		for _, want := range questions {
			before := n.questions()
			found, err := resolver.LookupNetIP(t.Context(), "ip", name)
			if err != nil || len(found) != 1 || found[0].Unmap() != netip.MustParseAddr("192.0.2.7") {
				t.Errorf("%s: found %v, %v", name, found, err)
			}
			if got := n.questions() - before; got != want {
				t.Errorf("%s: %d questions, want %d", name, got, want)
			}
		}
	}
}
