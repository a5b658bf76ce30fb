package deliver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tlsWith is how connections are encrypted where these roots are trusted; nil: the system's. ServerName is for each connection to set.
func tlsWith(roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
		// A request is of use to the other side as a whole only, so it is one record, and one write to the socket.
		DynamicRecordSizingDisabled: true,
	}
}

// rootsWith returns what the file holds, and the system's roots with those of the file, or nil (the system's) without one.
func rootsWith(file string) (text []byte, roots *x509.CertPool, err error) {
	if file == "" {
		return nil, nil, nil
	}
	if text, err = os.ReadFile(file); err != nil { // #nosec G304: the operator names it
		return nil, nil, fmt.Errorf("read SENDER_CA_FILE: %w", err)
	}
	if roots, err = x509.SystemCertPool(); err != nil {
		// A container without certificates of its own still has the file's.
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, nil, fmt.Errorf("SENDER_CA_FILE %s holds no certificate in PEM", file)
	}
	return text, roots, nil
}

// ReloadCAFile reads CAFile again and trusts what it holds from then on, if that is something else than before: connections that are
// kept are closed, and no session is resumed that was begun under other roots. After an error all is as it was. Posts may run
// meanwhile, another ReloadCAFile may not.
func (c *Client) ReloadCAFile() (changed bool, err error) {
	text, roots, err := rootsWith(c.config.CAFile)
	if err != nil || bytes.Equal(text, c.trusts) {
		return false, err
	}
	c.trusts = text
	c.own.tls.Store(tlsWith(roots))
	c.own.idle.empty()
	c.ownProxied.renew(c.own)
	return true, nil
}
