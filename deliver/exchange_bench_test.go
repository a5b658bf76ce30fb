//go:build unix

package deliver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/deliver"
	"github.com/fedsender/fedsender/deliver/sign"
)

// receiverRole is set for the process that receives what is sent in benchmarks, so that its work is not taken for the
// sender's.
const receiverRole = "FEDSENDER_TEST_RECEIVER"

// receive answers every request with 202 as cheaply as it can, on two ports, the second with TLS, until its standard
// input ends.
func receive() {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate
	defer server.Close()
	plain, encrypted := listen(), tls.NewListener(listen(), server.TLS)
	fmt.Println(plain.Addr(), encrypted.Addr(), base64.StdEncoding.EncodeToString(server.Certificate().Raw))
	go accept(plain)
	go accept(encrypted)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return listener
}

func accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go answerAll(conn)
	}
}

func answerAll(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		length := 0
		for {
			line, err := reader.ReadSlice('\n')
			if err != nil {
				return
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(strings.TrimSpace(string(value)))
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := reader.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write([]byte("HTTP/1.1 202 Accepted\r\nDate: Mon, 02 Nov 2026 09:05:07 GMT\r\nServer: toad\r\nContent-Length: 0\r\n\r\n")); err != nil {
			return
		}
	}
}

type constantSigner struct{}

func (constantSigner) Sign(_ context.Context, r sign.Request) ([]byte, error) {
	_, err := r.Message.SigningString()
	return make([]byte, 256), err
}

// startReceiver returns the addresses without and with TLS, and its certificate.
func startReceiver(b *testing.B) (plain, encrypted, caFile string) {
	b.Helper()
	receiver := exec.Command(os.Args[0])
	receiver.Env = append(os.Environ(), receiverRole+"=1")
	receiver.Stderr = os.Stderr
	stdin, err := receiver.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := receiver.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := receiver.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stdin.Close(); _ = receiver.Wait() })
	var certificate string
	if _, err := fmt.Fscan(stdout, &plain, &encrypted, &certificate); err != nil {
		b.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(certificate)
	if err != nil {
		b.Fatal(err)
	}
	return plain, encrypted, certificateFile(b, der)
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkExchange is a delivery without its signature, over a connection that is kept, what net/http would take, and what the
// kernel takes for as many bytes.
func BenchmarkExchange(b *testing.B) {
	plain, encrypted, caFile := startReceiver(b)
	key := newKey(b)
	for _, scheme := range []string{"http", "https"} {
		for _, size := range []int{512, 1400, 4 << 10, 16 << 10, 64 << 10, 256 << 10} {
			if scheme == "http" {
				b.Run(fmt.Sprintf("http/%dB/socket", size), func(b *testing.B) { writeAll(b, plain, size) })
			}
			for _, by := range []string{"direct", "nethttp"} {
				b.Run(fmt.Sprintf("%s/%dB/%s", scheme, size, by), func(b *testing.B) {
					client := newClient(b, deliver.Config{
						Policy: deliver.Policy{AllowHTTP: true}, CAFile: caFile, Signer: constantSigner{},
						ConnectTo: map[string]string{"http": plain, "https": encrypted}[scheme],
					})
					if by == "nethttp" {
						client.ByTransport()
					}
					doc := newDocument(b, ofBytes(size))
					exchangeAll(b, client, scheme, doc, key)
				})
			}
		}
	}
}

// exchangeAll posts from so many goroutines at once, each to an inbox of its own without TLS, where the receiver has a
// certificate for one name only.
func exchangeAll(b *testing.B, client *deliver.Client, scheme string, doc *deliver.Document, key *deliver.Key) {
	post := func(host, times int) {
		inbox := fmt.Sprintf("%s://h%d.example.com/inbox", scheme, host)
		if scheme == "https" {
			inbox = "https://example.com/inbox"
		}
		for range times {
			if out := client.Post(b.Context(), inbox, doc, key); out.Class != deliver.Delivered {
				b.Errorf("%+v", out)
			}
		}
	}
	fromAll(b, post)
}

// writeAll writes requests that were made before and reads each answer at once.
func writeAll(b *testing.B, address string, size int) {
	request := fmt.Appendf(nil, "POST /inbox HTTP/1.1\r\nX: %s\r\nContent-Length: %d\r\n\r\n%s", strings.Repeat("x", 700), size, strings.Repeat("x", size))
	var conns [atOnce]net.Conn
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", address); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	fromAll(b, func(host, times int) {
		answer := make([]byte, 1<<10)
		for range times {
			if _, err := conns[host].Write(request); err != nil {
				b.Error(err)
			}
			if _, err := conns[host].Read(answer); err != nil {
				b.Error(err)
			}
		}
	})
}

const atOnce = 32

// fromAll measures what so many goroutines do at once.
func fromAll(b *testing.B, do func(host, times int)) {
	all := func(times int) {
		var doing conc.WaitGroup
		for host := range atOnce {
			doing.Go(func() { do(host, (times+host)/atOnce) })
		}
		doing.Wait()
	}
	all(4 * atOnce) // connections
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime(b)
	all(b.N)
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
}
