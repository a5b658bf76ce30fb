package deliver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
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

// maxCAFileBytes is some five times what a system trusts.
const maxCAFileBytes = 1 << 20

// ErrCAFileTooLong says that CAFile is no list of authorities, however it begins.
var ErrCAFileTooLong = errors.New("it is longer than 1 MiB; leave only the certificates in it that are needed")

// readCAFile returns what the file holds; nothing without one.
func readCAFile(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	opened, err := os.Open(file) // #nosec G304: the operator names it
	if err != nil {
		return nil, fmt.Errorf("read SENDER_CA_FILE: %w", err)
	}
	defer opened.Close()
	text, err := io.ReadAll(io.LimitReader(opened, maxCAFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read SENDER_CA_FILE: %w", err)
	}
	if len(text) > maxCAFileBytes {
		return nil, fmt.Errorf("read SENDER_CA_FILE %s: %w", file, ErrCAFileTooLong)
	}
	return text, nil
}

// rootsWith returns the system's roots with those of a text in PEM, which the file holds, and how many these are, at least one.
// Other blocks in it, and certificates that can't be parsed, are passed over.
func rootsWith(text []byte, file string) (roots *x509.CertPool, certificates int, err error) {
	roots, err = x509.SystemCertPool()
	if err != nil {
		// A container without certificates of its own still has the file's.
		roots = x509.NewCertPool()
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
			roots.AddCert(certificate)
			certificates++
		}
	}
	if certificates == 0 {
		return nil, 0, fmt.Errorf("SENDER_CA_FILE %s holds no certificate in PEM", file)
	}
	return roots, certificates, nil
}

// firstRoots returns what the file holds, and the roots to begin with: nil, the system's, without a file.
func firstRoots(file string) (text []byte, roots *x509.CertPool, err error) {
	text, err = readCAFile(file)
	if err != nil || file == "" {
		return nil, nil, err
	}
	roots, _, err = rootsWith(text, file)
	return text, roots, err
}

// ReloadCAFile reads CAFile again and trusts what it holds from then on, if that is something else than before: connections that are
// kept are closed, those in use when their request ends, and no session is resumed that was begun under other roots. It returns how
// many certificates the file holds now; 0: what it held before. After an error all is as it was. Posts may run meanwhile, another
// ReloadCAFile may not.
func (c *Client) ReloadCAFile() (certificates int, err error) {
	text, err := readCAFile(c.config.CAFile)
	if err != nil || bytes.Equal(text, c.trusts) {
		return 0, err
	}
	roots, certificates, err := rootsWith(text, c.config.CAFile)
	if err != nil {
		return 0, err
	}
	c.trusts = text
	c.own.tls.Store(tlsWith(roots))
	c.own.idle.empty()
	c.ownProxied.renew(c.own)
	return certificates, nil
}
