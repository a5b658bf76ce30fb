package fediverse

import (
	"io"
	"net/http"
)

// The answers of this file say 200, which is a delivery, and then do not keep to HTTP.

// EndlessBody says 200 and sends a few bytes of a body that does not go on.
func EndlessBody(x *Exchange) {
	x.Reply(http.StatusOK)
	_, _ = io.WriteString(x.w, "...")           // the client may be gone
	_ = http.NewResponseController(x.w).Flush() // the same
	Hang(x)
}

// HugeBody says 200 and sends a body of so many bytes, as long as the client takes them.
func HugeBody(bytes int64) Answer {
	return func(x *Exchange) {
		x.Reply(http.StatusOK)
		block := make([]byte, 64<<10)
		for left := bytes; left > 0; left -= int64(len(block)) {
			if _, err := x.w.Write(block[:min(left, int64(len(block)))]); err != nil {
				return
			}
		}
	}
}

// ResetAfterOK says 200, promises a body and resets the connection.
func ResetAfterOK(x *Exchange) {
	if c, ok := x.take(http.StatusOK); ok {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart") // the client may be gone
		c.reset()
	}
}

// ShortBody says 200 and closes before the body is as long as it said.
func ShortBody(x *Exchange) {
	if c, ok := x.take(http.StatusOK); ok {
		writeAndClose(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")
	}
}

// BadChunks says 200 and sends a chunk whose length is no number.
func BadChunks(x *Exchange) {
	if c, ok := x.take(http.StatusOK); ok {
		writeAndClose(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\npart\r\n")
	}
}
