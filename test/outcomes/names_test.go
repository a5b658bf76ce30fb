package outcomes

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The names that DNS knows here, each with one IPv4 address.
var addresses = map[string][4]byte{
	"toad.example.":     {127, 0, 0, 1},
	"inside.example.":   {10, 0, 0, 1},
	"metadata.example.": {169, 254, 169, 254},
	"loopback.example.": {127, 0, 0, 1},
}

const (
	brokenName = "broken.invalid." // SERVFAIL
	silentName = "silent.invalid." // no answer
)

// dialNames is a connection to a name server that lives in this process, so that no test asks a real one.
func dialNames(ctx context.Context, _, _ string) (net.Conn, error) {
	return &nameConn{ctx: ctx}, ctx.Err()
}

// nameConn answers the question that was written to it. It looks like TCP: each message follows its length.
type nameConn struct {
	net.Conn // nil: the resolver uses what is below
	ctx      context.Context
	answer   bytes.Buffer
	silent   bool
}

func (c *nameConn) Write(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, errors.New("a question without a length")
	}
	var question dnsmessage.Message
	if err := question.Unpack(p[2:]); err != nil {
		return 0, err
	}
	answer, err := answerTo(question)
	if err != nil {
		return 0, err
	}
	c.silent = question.Questions[0].Name.String() == silentName
	c.answer.Write(binary.BigEndian.AppendUint16(nil, uint16(len(answer))))
	c.answer.Write(answer)
	return len(p), nil
}

func answerTo(question dnsmessage.Message) ([]byte, error) {
	asked := question.Questions[0]
	address, known := addresses[asked.Name.String()]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: question.Questions,
	}
	switch {
	case asked.Name.String() == brokenName:
		answer.RCode = dnsmessage.RCodeServerFailure
	case !known:
		answer.RCode = dnsmessage.RCodeNameError
	case asked.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class},
			Body:   &dnsmessage.AResource{A: address},
		}}
	}
	return answer.Pack()
}

func (c *nameConn) Read(p []byte) (int, error) {
	if c.silent {
		<-c.ctx.Done()
		return 0, context.Cause(c.ctx)
	}
	return c.answer.Read(p)
}

func (c *nameConn) SetDeadline(time.Time) error { return nil }

func (c *nameConn) Close() error { return nil }
