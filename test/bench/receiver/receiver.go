// Package receiver takes deliveries for all hosts on one address, as a process of its own, so that its processor time is
// told apart from the sender's. It takes less of it than test/fediverse, which writes down and judges every request: it
// counts all and checks a sample, over plain HTTP/1.1 on one port and TLS 1.3 on another.
package receiver

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/test/fediverse"
)

// Addresses is what the receiver tells of itself when it listens.
type Addresses struct {
	Plain   string `json:"plain"`
	TLS     string `json:"tls"`
	Control string `json:"control"`
	CAFile  string `json:"ca_file"`
}

// Run prints the [Addresses] as a line of JSON to out and takes deliveries until in ends.
func Run(in io.Reader, out io.Writer) (err error) {
	authority, err := fediverse.NewAuthority("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, authority.Close()) }()
	var listeners [3]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	r := newReceiver()
	encrypted := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return authority.Certificate(hello.ServerName)
		},
	}
	control := &http.Server{Handler: r.control()}
	var group conc.WaitGroup
	group.Go(func() { r.accept(listeners[0], nil) })
	group.Go(func() { r.accept(listeners[1], encrypted) })
	group.Go(func() { _ = control.Serve(listeners[2]) }) // ends by Close only
	err = json.NewEncoder(out).Encode(Addresses{
		Plain: listeners[0].Addr().String(), TLS: listeners[1].Addr().String(), Control: listeners[2].Addr().String(),
		CAFile: authority.CAFile(),
	})
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	err = errors.Join(err, listeners[0].Close(), listeners[1].Close(), control.Close())
	r.close()
	group.Wait()
	return err
}
