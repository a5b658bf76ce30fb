package fediverse

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Authority signs a certificate for whatever name is asked for. All certificates share one key, so that one costs
// one ECDSA signature. It is safe for several goroutines.
type Authority struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey // of the root and of all certificates
	pem  []byte
	file string
	temp string // directory to remove

	serial       atomic.Int64
	certificates sync.Map // name → *tls.Certificate
}

// NewAuthority makes one, with its root in a file of dir, or of a temporary directory when dir is empty. The caller closes it.
func NewAuthority(dir string) (_ *Authority, err error) {
	a := &Authority{}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make the key of the test CA: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "Simulated fediverse"},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make the test CA: %w", err)
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make the test CA: %w", err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if dir == "" {
		if dir, err = os.MkdirTemp("", "fedsender-fediverse-"); err != nil {
			return nil, fmt.Errorf("make a directory for the test CA: %w", err)
		}
		a.temp = dir
		// #nosec G302: what it holds is public, and senders may run as another user
		if err := os.Chmod(dir, 0o755); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	a.file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(a.file, a.pem, 0o644); err != nil { // #nosec G306: public
		return nil, errors.Join(fmt.Errorf("write the test CA: %w", err), a.Close())
	}
	return a, nil
}

// CAFile is the PEM file of the root.
func (a *Authority) CAFile() string { return a.file }

// Close removes the temporary directory if there is one.
func (a *Authority) Close() error {
	if a.temp == "" {
		return nil
	}
	return os.RemoveAll(a.temp)
}

// Certificate returns the one of a name, made when it is asked for the first time.
func (a *Authority) Certificate(name string) (*tls.Certificate, error) {
	if found, ok := a.certificates.Load(name); ok {
		return found.(*tls.Certificate), nil
	}
	made, err := a.issue(name, a.key, a.root, 0)
	if err != nil {
		return nil, err
	}
	kept, _ := a.certificates.LoadOrStore(name, made)
	return kept.(*tls.Certificate), nil
}

// issue makes a certificate that has expired so long ago, or that is good when ago is 0.
func (a *Authority) issue(name string, signer *ecdsa.PrivateKey, parent *x509.Certificate, ago time.Duration) (*tls.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial.Add(1)),
		NotBefore:    now.Add(-ago - 24*time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ago > 0 {
		template.NotAfter = now.Add(-ago)
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, a.key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}, nil
}
