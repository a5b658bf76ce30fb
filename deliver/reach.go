package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Step is how far on its way to a host something came.
type Step string

// The steps of a request, in their order.
const (
	StepProxy   Step = "proxy"   // the variables that name it, or the connection to it
	StepDNS     Step = "dns"     // the name server does not answer
	StepName    Step = "name"    // the name does not exist
	StepAddress Step = "address" // all addresses of the name are private
	StepTCP     Step = "tcp"
	StepTLS     Step = "tls"
	StepHTTP    Step = "http"
)

// ReachError says at which step a host could not be reached. It holds no secret of a proxy's URL.
type ReachError struct {
	Step    Step
	Problem string
	// Untrusted: the certificate may be good, but is of an authority that is not trusted here.
	Untrusted bool
}

func (e *ReachError) Error() string { return e.Problem }

// Reached is what a host answered.
type Reached struct {
	Proxy  string        // host and port of the one that was used; empty: none
	Date   time.Time     // what the host says that it is; zero: it says nothing
	Middle time.Time     // half-way between request and answer
	Took   time.Duration // with the connection
}

// Reach asks https://host/ for its header, on the way that a delivery would take: the same proxy, name servers, address guard
// and authorities. It blocks until there is an answer or ctx ends. Its error is a [*ReachError].
func (c *Client) Reach(ctx context.Context, host string) (r Reached, err error) {
	target := &url.URL{Scheme: "https", Host: host, Path: "/"}
	request := (&http.Request{
		Method: http.MethodHead, URL: target, Host: host, Header: http.Header{"User-Agent": {c.config.UserAgent}},
	}).WithContext(ctx)
	proxy, err := c.config.Proxy(target)
	if err != nil {
		return r, &ReachError{Step: StepProxy, Problem: "the URL of the proxy is not one (HTTPS_PROXY, HTTP_PROXY)"}
	}
	if proxy != nil {
		r.Proxy = proxy.Host
		request = request.WithContext(context.WithValue(ctx, proxyKey{}, proxy))
	}
	direct := c.direct.(*direct)
	transport := &http.Transport{
		Proxy:             func(r *http.Request) (*url.URL, error) { return proxyOf(r.Context()), nil },
		DialContext:       direct.dialer.connect,
		TLSClientConfig:   direct.tls.Load().Clone(),
		DisableKeepAlives: true,
		// What a page says is of no interest, so its header must be short.
		MaxResponseHeaderBytes: maxAnswerBytes,
	}
	start := time.Now()
	response, err := transport.RoundTrip(request)
	r.Took = time.Since(start)
	if err != nil {
		return r, reachError(err, host, r.Proxy)
	}
	_ = response.Body.Close()
	r.Middle = start.Add(r.Took / 2)
	r.Date, _ = http.ParseTime(response.Header.Get("Date"))
	return r, nil
}

func reachError(err error, host, proxy string) *ReachError {
	var (
		guard     *guardError
		dns       *net.DNSError
		cert      *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		op        *net.OpError
	)
	e := &ReachError{Step: StepHTTP, Problem: fmt.Sprintf("%s: %s", host, err)}
	where := host
	if proxy != "" {
		where = "the proxy " + proxy
	}
	switch {
	case errors.As(err, &guard):
		e.Step, e.Problem = StepAddress, fmt.Sprintf("%s has no address that may be sent to: %s", host, rootCause(guard))
	case errors.As(err, &cert):
		e.Step, e.Problem, e.Untrusted = StepTLS, fmt.Sprintf("the certificate of %s is not valid: %s", host, cert.Err), errors.As(err, &authority)
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Step, e.Problem = StepName, fmt.Sprintf("the name of %s does not exist in DNS", where)
	case errors.As(err, &dns):
		e.Step, e.Problem = StepDNS, "DNS does not answer for "+where
	case errors.As(err, &op) && op.Op == "proxyconnect", errors.As(err, &op) && op.Op == "dial" && proxy != "":
		e.Step, e.Problem = StepProxy, fmt.Sprintf("%s takes no connection: %s", where, rootCause(op.Err))
	case errors.As(err, &op) && op.Op == "dial":
		e.Step, e.Problem = StepTCP, fmt.Sprintf("%s takes no connection: %s", host, op.Err)
	case errors.Is(err, context.DeadlineExceeded):
		e.Step, e.Problem = StepTCP, where+" does not answer in time"
	}
	e.Problem = printable(e.Problem)
	return e
}
