package peers

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Poster signs and sends. It is safe for several goroutines.
type Poster struct {
	keyID  string
	key    *rsa.PrivateKey
	client *http.Client
}

// NewPoster reads the key and the roots.
func NewPoster(s Settings) (*Poster, error) {
	text, err := os.ReadFile(s.KeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not RSA")
	}
	roots := x509.NewCertPool()
	if text, err = os.ReadFile(s.CAFile); err != nil {
		return nil, err
	}
	roots.AppendCertsFromPEM(text)
	var dialer net.Dialer
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, s.ConnectTo)
		},
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		MaxIdleConnsPerHost: s.Workers,
		DisableCompression:  true,
	}
	return &Poster{keyID: s.KeyID, key: key, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// Document is an activity as it is sent, digested once for all hosts.
type Document struct {
	body   []byte
	digest string
}

// NewDocument digests the body.
func NewDocument(body []byte) *Document {
	sum := sha256.Sum256(body)
	return &Document{body: body, digest: "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])}
}

// Close closes the idle connections.
func (p *Poster) Close() { p.client.CloseIdleConnections() }

// Post delivers a document to an inbox. An answer other than 2xx is an error.
func (p *Poster) Post(ctx context.Context, inbox string, document *Document) error {
	request, err := p.Request(ctx, inbox, document)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", inbox, response.Status)
	}
	return nil
}

// Request makes the signed request of a delivery.
func (p *Poster) Request(ctx context.Context, inbox string, document *Document) (*http.Request, error) {
	at, err := url.Parse(inbox)
	if err != nil {
		return nil, err
	}
	date := time.Now().UTC().Format(http.TimeFormat)
	signed := sha256.Sum256(fmt.Appendf(nil, "(request-target): post %s\nhost: %s\ndate: %s\ndigest: %s", at.Path, at.Host, date, document.digest))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, signed[:])
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, inbox, bytes.NewReader(document.body))
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{
		"Content-Type": {"application/activity+json"},
		"Date":         {date},
		"Digest":       {document.digest},
		"Signature": {fmt.Sprintf(`keyId="%s",algorithm="rsa-sha256",headers="(request-target) host date digest",signature="%s"`,
			p.keyID, base64.StdEncoding.EncodeToString(signature))},
		"User-Agent": {"peer (+https://home.example/)"},
	}
	return request, nil
}
