package deliver

// nothingYet is what a read from a quiet connection gives while it is probed. It is temporary for crypto/tls, which
// then reads on as if nothing had been.
type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing to read yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }

// quiet says whether an idle connection can be used: the other side has neither closed it nor said anything. What is not
// an answer to anything (a 408 before hanging up) would be taken for the next one. Tickets for TLS sessions may come.
func (c *conn) quiet() bool {
	if c.socket.probe.silent() {
		return true
	}
	c.socket.probe.on = true
	n, err := c.stream.Read(make([]byte, 1))
	c.socket.probe.on = false
	_, nothing := err.(nothingYet)
	return n == 0 && nothing
}
