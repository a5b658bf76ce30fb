package deliver_test

import (
	"net"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"github.com/fedsender/fedsender/deliver"
)

// rawServer answers each connection with the text as soon as something was sent, and then holds it open until the
// client closes it.
func rawServer(t testing.TB, text string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving conc.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				buffer := make([]byte, 4096)
				for first := true; ; first = false {
					if _, err := conn.Read(buffer); err != nil {
						return
					}
					if first {
						_, _ = conn.Write([]byte(text)) // the client may be gone
					}
				}
			})
		}
	})
	return listener.Addr().String()
}

func TestPost_EndsInTimeWhateverTheServerSays(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		class deliver.Class
	}{
		"nothing":                         {"", deliver.Retry},
		"half a status line":              {"HTTP/1.1 20", deliver.Retry},
		"half a header":                   {"HTTP/1.1 202 Accepted\r\nContent-", deliver.Retry},
		"only that more will come":        {"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n", deliver.Retry},
		"another protocol that is silent": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: toad\r\n\r\n", deliver.Retry},
		"a body without an end":           {"HTTP/1.1 202 Accepted\r\n\r\n", deliver.Delivered},
		"half a body":                     {"HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nhalf", deliver.Delivered},
		"half a chunk":                    {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", deliver.Delivered},
		"half a refusal":                  {"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf", deliver.Refused},
		"hints, then the answer":          {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", deliver.Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := deliver.Config{
				Policy: deliver.Policy{AllowHTTP: true}, ConnectTo: rawServer(t, c.text), RequestTimeout: 500 * time.Millisecond,
			}
			within(t, 3*time.Second, func() {
				wantClass(t, post(t, config, "http://toad.example/inbox"), c.class)
			})
		})
	}
}
