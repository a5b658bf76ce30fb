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

	"golang.org/x/net/dns/dnsmessage"

	"github.com/fedsender/fedsender/deliver"
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
	var question dnsmessage.Message
	if len(p) < 2 || question.Unpack(p[2:]) != nil {
		return 0, errors.New("no question")
	}
	asked := question.Questions[0]
	c.names.mu.Lock()
	c.names.asked[asked.Name.String()]++
	c.names.mu.Unlock()
	soa := dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("example."), Type: dnsmessage.TypeSOA, Class: asked.Class, TTL: 60},
		Body:   &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns.example."), MBox: dnsmessage.MustNewName("a.example."), MinTTL: 60},
	}
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: question.Questions,
	}
	switch {
	case asked.Name.String() != "toad.example.":
		answer.RCode, answer.Authorities = dnsmessage.RCodeNameError, []dnsmessage.Resource{soa}
	case asked.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
		}}
	default:
		answer.Authorities = []dnsmessage.Resource{soa}
	}
	packed, err := answer.Pack()
	if err != nil {
		return 0, err
	}
	c.answer.Write(binary.BigEndian.AppendUint16(nil, uint16(len(packed))))
	c.answer.Write(packed)
	return len(p), nil
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
	synctest.Test(t, func(t *testing.T) {
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
