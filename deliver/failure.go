package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
)

// failure says what the absence of an answer means. Post turns it into Canceled when the caller's context ended.
func (a *attempt) failure(ctx context.Context, err error) Outcome {
	var (
		guard *guardError
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		netOp net.Error
	)
	host := a.url.Host
	reason := ""
	switch {
	case errors.As(err, &guard):
		return Outcome{Class: Unusable, Reason: printable(fmt.Sprintf("%s has no address that may be sent to: %s", host, rootCause(guard)))}
	case a.signErr != nil && !errors.Is(a.signErr, errTimeout):
		reason = a.signErr.Error()
	case errors.Is(context.Cause(ctx), errTimeout):
		reason = fmt.Sprintf("%s gave no answer within %s", host, a.client.config.RequestTimeout)
	case errors.As(err, &dns) && dns.IsNotFound:
		reason = fmt.Sprintf("the name %s does not exist in DNS", a.url.Hostname())
	case errors.As(err, &dns):
		reason = fmt.Sprintf("DNS does not answer for %s", a.url.Hostname())
	case errors.As(err, &cert):
		reason = fmt.Sprintf("the certificate of %s is not valid: %s", host, cert.Err)
	case errors.As(err, &netOp) && netOp.Timeout():
		reason = fmt.Sprintf("%s timed out: %s", host, err)
	default:
		reason = fmt.Sprintf("%s: %s", host, err)
	}
	return Outcome{Class: Retry, Reason: printable(reason)}
}

// rootCause unwraps to the guard's own sentence, without the dialer's words around it.
func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// shownLocation is a redirect's goal without what may be a secret in it: user, query, fragment.
func shownLocation(base *url.URL, location string) string {
	u, err := base.Parse(location)
	if err != nil || location == "" {
		return "nowhere"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
